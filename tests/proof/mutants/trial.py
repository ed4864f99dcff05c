"""One trial: the tests run against a database in which one function is a mutant.

In a forked child: pytest and all it needs are imported once, by the parent.
"""

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

# A mutant is tried by its killer, by tests of its own, then by all: together within this.
SECONDS = 60
_PRIVILEGE = "42501"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class Witness:
    """Notes the first failure: which test, and whether the mutant merely does not run."""

    def __init__(self) -> None:
        self.killer = ""
        self.told = ""
        self.is_sound = True

    @pytest.hookimpl
    def pytest_exception_interact(
        self, node: pytest.Item, call: "pytest.CallInfo[object]", report: pytest.TestReport
    ) -> None:
        """Note what failed; what is found after a test is the audit's."""
        if self.killer or call.excinfo is None or not isinstance(report, pytest.TestReport):
            return
        self.killer = node.nodeid
        self.told = f"{report.when}: {call.excinfo.exconly()}"[:300]
        # Errors of class 42: SQL that is wrong, not a rule that is broken. A privilege that
        # is missing is a rule.
        self.is_sound = not any(
            isinstance(error, asyncpg.PostgresError)
            and str(error.sqlstate).startswith("42")
            and error.sqlstate != _PRIVILEGE
            for error in chain(call.excinfo.value)
        )


def start(tests: list[str], environment: dict[str, str], answer: Path) -> int:
    """Fork a child that runs tests until one fails, and return its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = _run(tests, environment, answer)
    except BaseException:
        # The child ends here: nobody above would print it.
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(tests: list[str], environment: dict[str, str], answer: Path) -> int:
    os.environ.update(environment)
    with answer.with_suffix(".log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    asyncio.set_event_loop(None)
    witness = Witness()
    # Plain assertions and no traces: what the parent imported can be used, and a failure costs
    # nothing to tell.
    options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--tb=no"]
    options += [f"--timeout={SECONDS}"]
    code = pytest.main([*options, *tests], plugins=[witness])
    told = {
        "code": int(code),
        "killer": witness.killer,
        "told": witness.told,
        "is_sound": witness.is_sound,
    }
    answer.write_text(json.dumps(told), encoding="utf-8")
    return 0
