"""A thousand callers at once for credits that are enough for some of them.

Over all ways in: the SQL function, `Credits`, and GraphQL over HTTP at two processes.
As many come in as there is room for, nobody is refused before, and the books are exact.
"""
