"""Whatever is sent to `/v1`: never a 5xx, each error as OpenAI has it, and nothing stays held.

The same requests each time, so that what once passed passes again.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import structlog
from aiohttp import web

from app.catalog.edits import PlanFeatureTerms
from app.inference.asked import Asked
from app.inference.work import Work
from app.openai import shapes
from app.standin import StandIn
from app.standin import server as standin_server
from tests.fuzzing.judge import Wrong
from tests.fuzzing.wire import Answer, BadAnswerError, CutOffError, Wire
from tests.inference.conftest import Door
from tests.inference.rubbish import REFUSED_BY_PROVIDER, Request, judge, requests

REQUESTS = 800
FEW = 150
SEED = 7
SECONDS = 5.0
_AT_ONCE = 8
_CREDITS = 1_000_000_000


class _Strict(StandIn):
    """Refuses what it cannot read, as providers do; the plain one breaks."""

    async def _answer(self, request: web.Request, *, is_chat: bool) -> web.StreamResponse:
        try:
            return await super()._answer(request, is_chat=is_chat)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError):
            return standin_server._error(400, "cannot be read", REFUSED_BY_PROVIDER)


@pytest.fixture(scope="module")
async def standin() -> AsyncIterator[StandIn]:
    answering = _Strict()
    await answering.start()
    yield answering
    await answering.stop()


@pytest.fixture(autouse=True)
async def _rich(door: Door) -> None:
    await door.calling.sell(PlanFeatureTerms("summary"))
    calling = door.calling
    calling.account = await calling.accounts.open(_CREDITS, project_id=calling.project)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


@pytest.fixture(scope="module")
def few() -> list[Request]:
    """Return enough for each fault to be met."""
    return requests(FEW, SEED)


async def play(door: Door, sent: list[Request]) -> tuple[Counter[str], dict[str, list[str]]]:
    """Send them; return what came, and what was wrong, with the bytes to send again."""
    port = int(str(door.client.base_url).rpartition(":")[2])
    heard: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    waiting = iter(sent)

    async def client() -> None:
        for one in waiting:
            written = one.written(door.key, str(door.calling.account))
            wire = await Wire.open(port)
            try:
                async with asyncio.timeout(SECONDS):
                    await wire.send(written)
                    answer = await wire.answer()
                heard[judge(one, answer)] += 1
            except (Wrong, CutOffError, BadAnswerError, TimeoutError) as error:
                what, _, told = (str(error) or f"no answer in {SECONDS} s").partition(": ")
                wrong.setdefault(what, []).append(f"{told}\n{written[:3_000]!r}")
            finally:
                wire.close()

    await asyncio.gather(*(client() for _ in range(_AT_ONCE)))
    return heard, wrong


async def kept(door: Door) -> list[str]:
    """Return what is left behind once all is answered: calls, holds, and books that are wrong."""
    found = []
    open_calls = await door.calling.admin.fetch(
        "select id, state from inference.calls where project_id = $1"
        " and state in ('open', 'answered')",
        door.calling.project,
    )
    if open_calls:
        found.append(f"{len(open_calls)} calls are open")
    account = await door.calling.admin.fetchrow(
        "select available, reserved, overage, spent_total from credits.accounts"
        " where account_id = $1",
        door.calling.account,
    )
    assert account is not None
    if account["reserved"]:
        found.append(f"{account['reserved']} is held")
    charged = await door.charged()
    if (account["spent_total"], account["available"]) != (charged, _CREDITS * 10**6 - charged):
        found.append(f"{dict(account)}, charged {charged}")
    return found


@pytest.mark.timeout(60)
async def test_whatever_is_sent_is_answered_well_and_nothing_stays_held(
    door: Door, record_property: Callable[[str, object], None]
) -> None:
    heard, wrong = await play(door, requests(REQUESTS, SEED))
    record_property("figures", f"{heard}")
    assert not wrong, "\n".join(f"{what}: {told[0]}" for what, told in wrong.items())
    assert await kept(door) == []
    # It met what it is for: answers of both kinds, and most ways to be refused.
    expected = {
        "answered", "a stream", "no HTTP", "bad_request", "invalid_value", "invalid_api_key",
        "model_not_found", "unknown_url", "method_not_allowed", "feature_not_found",
        "forbidden", REFUSED_BY_PROVIDER,
    }  # fmt: skip
    assert expected <= heard.keys(), f"{heard}"
    assert heard["answered"] + heard["a stream"] > REQUESTS // 10
    assert await door.charged() > 0


# Faults, and how what is then found begins.


def _broken_check(self: Asked) -> None:
    # As if nobody had thought of a prompt that is none.
    _ = self.body[self.kind.prompt][0]
    _CHECK(self)


def _broken_shape(*told: Any, **more: Any) -> shapes.Answer:
    status, headers, body = _SHAPE(*told, **more)
    error = json.loads(body)["error"]
    del error["param"]
    return status, headers, json.dumps({"error": error}).encode()


def _broken_code(*told: Any, **more: Any) -> shapes.Answer:
    status, headers, body = _SHAPE(*told, **more)
    return status, headers, body.replace(b"invalid_value", b"ValueError")


def _broken_words(*told: Any, **more: Any) -> shapes.Answer:
    status, headers, body = _SHAPE(*told, **more)
    error = json.loads(body)["error"]
    error["message"] = 'Traceback (most recent call last): File "/srv/app/x.py", line 3'
    return status, headers, json.dumps({"error": error}).encode()


_CHECK, _SHAPE = Asked.check, shapes.error
FAULTS = {
    "a 5xx": (Asked, "check", _broken_check),
    "an error of another shape": (shapes, "error", _broken_shape),
    "an error that is not of the catalogue": (shapes, "error", _broken_code),
    "a leak": (shapes, "error", _broken_words),
}


@pytest.mark.parametrize("found", FAULTS)
async def test_a_planted_fault_is_found_and_nothing_else(
    found: str, door: Door, few: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*FAULTS[found])
    _, wrong = await play(door, few)
    assert wrong.keys() == {found}
    monkeypatch.undo()
    assert await kept(door) == []


async def test_what_stays_held_is_found(
    door: Door, few: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgets(*_: object) -> None:
        return None

    monkeypatch.setattr(Work, "give_back", forgets)
    _, wrong = await play(door, few)
    assert wrong == {}
    left = await kept(door)
    assert any("calls are open" in each for each in left)
    assert any("is held" in each for each in left)


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (502, "application/json", {"error": {}}),
        (400, "text/html", {"error": {}}),
        (400, "application/json", {"error": "no"}),
        (400, "application/json", {"errors": []}),
        (200, "application/json", []),
        (200, "application/json", {"usage": {}}),
        (200, "text/event-stream", {}),
    ],
)
def test_a_wrong_answer_is_found(status: int, kind: str, body: object, few: list[Request]) -> None:
    asked = next(each for each in few if each.method == "POST" and each.is_http)
    with pytest.raises(Wrong):
        judge(asked, Answer(status, {"content-type": kind}, json.dumps(body).encode()))


def test_a_seed_always_makes_the_same(few: list[Request]) -> None:
    assert requests(FEW, SEED) == few != requests(FEW, SEED + 1)


@pytest.mark.parametrize("depth", [200, 300, 1_000, 2_000])
async def test_what_is_read_deeper_than_it_can_be_written_is_refused(
    door: Door, depth: int
) -> None:
    body = b'{"model": "small", "max_tokens": 9, "messages": [{"content": "a"}], "x": %s1%s}'
    body %= b"[" * depth, b"]" * depth
    response = await door.client.post("/v1/chat/completions", content=body, headers=door.headers())
    assert response.status_code == (200 if depth == 200 else 400)
    if depth == 300:
        error = response.json()["error"]
        assert (error["code"], "nested too deeply" in error["message"]) == ("bad_request", True)
    assert door.requests == (depth == 200)
    assert await kept(door) == []
