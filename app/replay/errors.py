"""What ends a replay before its summary."""


class ReplayError(Exception):
    """Something a person at a terminal can do something about, in one line."""
