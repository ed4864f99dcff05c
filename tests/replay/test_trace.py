"""Reading a recorded trace."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import main
from app.replay.trace import Call, TraceError, read_trace
from tests.support.traces import write_trace

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
FIRST = "2023-11-16 18:15:46.6805900,374,44\n"
MOST = 2**31 - 1
RANGE = f"not a whole number from 0 to {MOST}"


def _written(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_calls_come_with_their_line_and_their_time_after_the_first(tmp_path: Path) -> None:
    path = _written(tmp_path, HEADER + FIRST + "2023-11-16 18:15:50.9951690,0,1000\n")
    assert list(read_trace(path)) == [Call(2, 0.0, 374, 44), Call(3, 4.314579, 0, 1000)]


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = _written(tmp_path, HEADER + FIRST + "not,a,call\n")
    assert list(read_trace(path, 1)) == [Call(2, 0.0, 374, 44)]


@pytest.mark.parametrize(
    "text",
    [
        "generatedTOKENS, Timestamp ,other,CONTEXTtokens\n44,2023-11-16 18:15:46,x,374\n",
        f"\ufeff{HEADER}2023-11-16 18:15:46,374,44\n",
        f"{HEADER}2023-11-16T18:15:46Z,374,44\r\n\r\n",
        f'{HEADER}"2023-11-16 18:15:46+02:00","374"," 44 "',
    ],
    ids=["other order and names", "byte order mark", "blank lines", "quotes, no line end"],
)
def test_what_other_tools_write_is_read(tmp_path: Path, text: str) -> None:
    assert list(read_trace(_written(tmp_path, text))) == [Call(2, 0.0, 374, 44)]


def test_offsets_are_respected(tmp_path: Path) -> None:
    path = _written(tmp_path, HEADER + "2023-11-16T18:00:00+02:00,1,1\n2023-11-16T16:00:01Z,1,1\n")
    assert [call.at for call in read_trace(path)] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv is empty: it must begin with a line TIMESTAMP,ContextTokens,GeneratedTokens"),
        (
            "TIMESTAMP,Context\n",
            "t.csv has no column ContextTokens and no GeneratedTokens:"  # noqa: ISC004  # one text
            " its first line must name TIMESTAMP, ContextTokens, GeneratedTokens",
        ),
        (HEADER, "t.csv holds no calls"),
        (HEADER + FIRST + "2023-11-16 18:15:47,1\n", "t.csv, line 3: has only 2 columns"),
        (
            HEADER + FIRST + "yesterday,1,1\n",
            "t.csv, line 3: TIMESTAMP is 'yesterday', not a time",
        ),
        (
            HEADER + "2023-11-16 18:15:47,-1,1\n",
            f"t.csv, line 2: ContextTokens is '-1', {RANGE}",
        ),
        (
            HEADER + "2023-11-16 18:15:47,1,1.5\n",
            f"t.csv, line 2: GeneratedTokens is '1.5', {RANGE}",
        ),
        (
            HEADER + f"2023-11-16 18:15:47,1,{MOST + 1}\n",
            f"t.csv, line 2: GeneratedTokens is '2147483648', {RANGE}",
        ),
        (
            HEADER + f"2023-11-16 18:15:47,1,{'9' * 60}\n",
            f"t.csv, line 2: GeneratedTokens is '{'9' * 40}…', {RANGE}",
        ),
        (
            HEADER + "\n" + FIRST + "2023-11-16 18:15:46,1,1\n",
            "t.csv, line 4: goes back in time; sort the trace by TIMESTAMP",
        ),
        (HEADER + f"{'x' * 65_537}\n", "t.csv, line 2: is longer than 65536 characters"),
        (HEADER + '"2023-11-16 18:15:47,1,1\n' + FIRST, "t.csv, line 3: unexpected end of data"),
    ],
)
def test_a_bad_trace_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TraceError) as refused:
        list(read_trace(_written(tmp_path, text)))
    assert str(refused.value) == message


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(HEADER.encode() + b"\xff\xfe\x00")
    with pytest.raises(TraceError) as refused:
        list(read_trace(path))
    assert str(refused.value) == "t.csv is not UTF-8 text"


@pytest.mark.usefixtures("quiet_command")
def test_a_fault_anywhere_shows_before_anything_is_called(tmp_path: Path) -> None:
    """Nobody listens at that address: the trace is read to its end first."""
    path = write_trace(tmp_path / "t.csv", calls=50)
    with path.open("a", encoding="utf-8") as file:
        file.write("2023-11-17 00:00:00,many,1\n")
    done = CliRunner().invoke(
        main, ["replay", str(path), "--key", "k", "--url", "http://127.0.0.1:9/graphql"]
    )
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"exchequer: t.csv, line 52: ContextTokens is 'many', {RANGE}\n"


def test_a_made_trace_is_the_same_each_time_and_shaped_as_recorded(tmp_path: Path) -> None:
    calls = list(read_trace(write_trace(tmp_path / "one.csv")))
    assert calls == list(read_trace(write_trace(tmp_path / "two.csv")))
    assert len(calls) == 300
    context = sorted(call.context_tokens for call in calls)
    generated = sorted(call.generated_tokens for call in calls)
    assert [context[0], context[150], context[-1]] == [117, 968, 12_491]
    assert [generated[0], generated[150], generated[-1]] == [14, 126, 1000]
