"""Whatever is logged, and whoever logs it: no key and no secret leaves the process."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.identity.keys import make_key

ROOT = Path(__file__).parents[2]

# In a process of its own: how a process logs is set once.
PROGRAM = """
import logging, sys
from app.core.telemetry import configure_logging, log

form, key, other = sys.argv[1:]
configure_logging("debug", json=form == "json")
try:
    raise ValueError(f"bad token {key}")
except ValueError:
    log.exception(
        "it.failed",
        sent=f"Bearer {key}",
        nested={"deep": [{"text": other}, (other,)], "Authorization": "Bearer x-y-z"},
        api_secret="hunter2",
    )
    logging.getLogger("a.library").exception("sent %s", key)
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_key_is_written_wherever_it_stands(form: str) -> None:
    key, other = make_key("project").secret, make_key("organization").secret
    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-c", PROGRAM, form, key, other],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    written = done.stderr
    assert written.count("ValueError: bad token [redacted]") == 2
    assert written.count("sent [redacted]") == 1
    for secret in (key, other, "x-y-z", "hunter2"):
        assert secret not in written
