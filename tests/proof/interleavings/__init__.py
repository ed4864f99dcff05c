"""Two operations in every order in which they can get between one another.

Whole steps first: BEGIN, call, COMMIT of both sides in all twenty merges. Then an
instrumented copy of the functions, which stands still at each lock and before each
write, and goes on when it is told to. Either way the account and both answers must be
as if one had come after the other.
"""
