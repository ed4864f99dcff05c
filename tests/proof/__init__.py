"""Proofs: what the promise rests on, counted. `make prove` runs them; CI runs small ones.

Each proof is a module with a command of its own. It says how many it tried, and how many of
these went wrong: a zero is worth what stands beside it.
"""
