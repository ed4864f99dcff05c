"""The rules of credits, written a second time.

An independent model: from the design, the guide, the decisions, the catalogue of refusals, the
headers of the SQL functions and the tests that say what shall be; never from their bodies. It
is plain and slow where they are fast, and knows no SQL. A run plays the same operations on both
and compares every answer whole.
"""
