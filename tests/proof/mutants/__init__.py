"""Mutants of the money functions: each is broken on purpose, and some test must say so.

A mutant that no test notices is a defect that could be written tomorrow and would not be
noticed either.
"""
