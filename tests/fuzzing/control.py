"""How slow the machine is just now: what reading one document costs, by graphql-core alone.

Two machines of the same kind, and one machine at two times, differ by more than a factor of
two in what the same work costs. So what a refusal costs is told, and judged, in seconds of
the machine the limit was set on: divided by what this control costs beside it.
"""

import time

from graphql import parse

# The CPU seconds of the control on the machine that the limit was set on.
_STANDARD_SECONDS = 0.007
_TIMES = 3
_FIELDS = (
    f'a{n}: organization(id: "{n}") {{ id name balance {{ available }} }}' for n in range(100)
)
_DOCUMENT = f"{{{' '.join(_FIELDS)}}}"


def slowness() -> float:
    """Return what a second of that machine takes here, at least 1: no machine has less time."""
    return max(min(_once() for _ in range(_TIMES)) / _STANDARD_SECONDS, 1.0)


def _once() -> float:
    started = time.process_time()
    parse(_DOCUMENT)
    return time.process_time() - started
