"""Let calls be made by chance, let a crowd run dry, and kill the API in the middle of streams."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any
from uuid import UUID

import httpx
import orjson

from app.credits import Credits
from app.usage import Usage
from tests.proof.calls.chances import Chance, chance
from tests.proof.calls.judged import judge
from tests.proof.calls.prices import COARSE, MODELS, SAID
from tests.proof.calls.world import World, body, world
from tests.proof.ground import Ground
from tests.proof.verdict import Verdict, Zero
from tests.support.accounts import CREDIT
from tests.support.processes import WorkerProcess

CALLERS = 32
ORGANIZATIONS = 8
CROWD = 500
# Of whole streams: tokens that one of the crowd would write, and for how many there are credits.
CROWD_TOKENS, CROWD_FUNDED = 48, 50
STREAMS = 200
# Tokens that each has heard, on an average, when the API is killed: more was noted of most by then.
_HEARD = 60
_SECONDS = 60.0
_LEASE_SECONDS = 3


async def prove(
    on: Ground,
    count: int,
    seed: int,
    *,
    crowd: int = CROWD,
    streams: int = STREAMS,
    broken: str = "",
    misreads: bool = False,
    stops: bool = True,
    **settings: str,
) -> Verdict:
    """Run all three, or those of which there are any.

    `broken`: statements that break functions. `misreads`: whether what litellm says is read
    wrongly. `stops`: whether streams end where credits do.
    """
    verdict = Verdict("calls", seed)
    if count or crowd:
        # All models are asked by chance, and one otherwise.
        sold = MODELS if count else [SAID]
        async with world(
            on, models=sold, broken=broken, misreads=misreads, stops=stops, **settings
        ) as there:
            if count:
                await _by_chance(there, verdict, count, seed)
            if crowd:
                await _crowd(there, verdict, crowd)
            await _audited(there, verdict, "after calls by chance and a crowd")
    if streams:
        lease = {"EXCHEQUER_INFERENCE_LEASE_SECONDS": str(_LEASE_SECONDS)}
        async with world(
            on,
            models=[SAID],
            broken=broken,
            misreads=misreads,
            stops=stops,
            **lease,
            **settings,
        ) as there:
            await _killed(on, there, verdict, streams)
            await _audited(there, verdict, "after the API was killed")
    return verdict


# By chance.


async def _by_chance(there: World, verdict: Verdict, count: int, seed: int) -> None:
    accounts = [await there.organization(10_000_000, number) for number in range(ORGANIZATIONS)]
    waiting = iter(range(count))
    seen: dict[str, tuple[Chance, int]] = {}

    async def caller() -> None:
        async with _client(there) as client:
            for number in waiting:
                one = chance(seed, number)
                account = accounts[number % ORGANIZATIONS]
                seen[one.key] = one, await _make(client, there, account, one)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    await _ended(there)
    rows = await _rows(there)
    judge(verdict, seen, rows, there.standin.said, there.projects)
    held = Zero("credits that are still held", 0, "accounts")
    for row in await there.admin.fetch("select account_id, reserved from credits.accounts"):
        held.of += 1
        if row["reserved"]:
            held.happened(f"{row['reserved']} of {row['account_id']}")
    verdict.zeros.append(held)
    outcomes = Counter(row["outcome"] for row in rows.values())
    models = Counter(row["model"] for row in rows.values())
    verdict.figures |= {
        "calls by chance": len(seen),
        "of which models": _listed(models),
        "how they ended": _listed(outcomes),
        "asked again or another time": sum(row["attempt"] > 1 for row in rows.values()),
    }


async def _make(client: httpx.AsyncClient, there: World, account: UUID, one: Chance) -> int:
    """Make a call; return how many tokens reached who asked."""
    asked = body(
        one.key,
        one.said,
        stream=one.is_stream,
        before=one.before,
        model=one.model,
        choices=one.choices,
    )
    headers = there.headers(account, one.key)
    if not one.is_stream:
        answer = await client.post("/v1/chat/completions", json=asked, headers=headers)
        told = answer.json()
        return _words(told["choices"]) if answer.status_code == httpx.codes.OK else 0
    heard = pieces = 0
    async with aclosing(_events(client, asked, headers)) as events:
        async for event in events:
            heard += _words(event.get("choices", []))
            pieces += bool(event.get("choices"))
            if pieces == one.leaves_after:
                break
    return heard


async def _events(
    client: httpx.AsyncClient, asked: dict[str, object], headers: dict[str, str]
) -> AsyncGenerator[dict[str, Any], None]:
    async with client.stream(
        "POST", "/v1/chat/completions", json=asked, headers=headers
    ) as response:
        if response.status_code != httpx.codes.OK:
            await response.aread()
            yield {"status": response.status_code}
            return
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                yield {"done": True}
            elif line:
                yield orjson.loads(line.removeprefix("data: "))


# A crowd.


async def _crowd(there: World, verdict: Verdict, crowd: int) -> None:
    said = f"tokens={CROWD_TOKENS} chunk=16 pause=0.02"
    # What one of them costs, by what it is charged alone.
    alone = await there.organization(1_000_000)
    async with _client(there) as client:
        asked = body("alone", said, stream=True)
        async for event in _events(client, asked, there.headers(alone, "alone")):
            assert "status" not in event, event
    row = (await _rows(there))["alone"]
    prompt = row["prompt_tokens"]
    funded = crowd * CROWD_FUNDED // CROWD * SAID.charge(COARSE, prompt, 0, CROWD_TOKENS) // CREDIT
    account = await there.organization(funded)
    orderly = Zero("streams that do not end in order", crowd, "streams of a crowd")
    ends: Counter[str] = Counter()

    async def one(client: httpx.AsyncClient, number: int) -> None:
        key = f"crowd-{number}"
        last: dict[str, Any] = {}
        reasons = set()
        headers = there.headers(account, key)
        async for event in _events(client, body(key, said, stream=True), headers):
            last = event
            reasons |= {choice["finish_reason"] for choice in event.get("choices", [])}
        if last.get("status") == httpx.codes.PAYMENT_REQUIRED:
            ends["refused"] += 1
        elif last.get("done") and reasons - {None}:
            ends["cut short" if "length" in reasons else "whole"] += 1
        else:
            orderly.happened(f"{key}: {last}")

    async with _client(there) as client:
        await asyncio.gather(*(one(client, number) for number in range(crowd)))
    await _ended(there)
    found = await there.admin.fetchrow(
        "select available, reserved, overage, spent_total from credits.accounts"
        " where account_id = $1",
        account,
    )
    assert found is not None
    overspent = Zero("spent more than there was", 1, "accounts of a crowd")
    if found["overage"] or found["reserved"] or found["spent_total"] > funded * CREDIT:
        overspent.happened(f"{dict(found)}")
    verdict.zeros += [orderly, overspent]
    verdict.figures["a crowd with credits for fewer"] = (
        f"{crowd} streams, credits for {crowd * CROWD_FUNDED // CROWD}: "
        + _listed(ends)
        + f"; left over {found['available'] / CREDIT:g} of {funded} credits"
    )


# Killed.


async def _killed(on: Ground, there: World, verdict: Verdict, streams: int) -> None:
    account = await there.organization(10_000_000)
    heard: Counter[str] = Counter()
    said = "tokens=300 chunk=2 pause=0.02"

    async def one(client: httpx.AsyncClient, number: int) -> None:
        key = f"killed-{number}"
        try:
            headers = there.headers(account, key)
            async for event in _events(client, body(key, said, stream=True), headers):
                heard[key] += _words(event.get("choices", []))
        except httpx.TransportError:
            # It was killed, as it should be.
            return

    async with _client(there) as client:
        asking = [asyncio.create_task(one(client, number)) for number in range(streams)]
        async with asyncio.timeout(_SECONDS):
            while len(heard) < streams or heard.total() < _HEARD * streams:
                await asyncio.sleep(0.01)
        there.api.kill()
        await asyncio.gather(*asking)
    name = await there.admin.fetchval("select current_database()")
    async with WorkerProcess(
        on.servers.app_url(name), on.servers.redis, EXCHEQUER_SWEEP_SECONDS="0.5"
    ):
        await _ended(there)
    rows = await _rows(there)
    marked = Zero(
        "charged for what nobody told of, without a mark", len(rows), "streams cut by a kill"
    )
    more = Zero("charged for more than was written", len(rows), "streams cut by a kill")
    free = Zero("written, and charged to nobody", len(rows), "streams cut by a kill")
    for key, row in rows.items():
        truth = there.standin.said[key]
        if not row["usage_estimated"]:
            marked.happened(f"{key}: {row}")
        if row["output_tokens"] > truth.written:
            more.happened(f"{key}: {row['output_tokens']} of {truth.written}")
        if row["state"] != "settled" or not row["credits"]:
            free.happened(f"{key}: {row}")
    verdict.zeros += [marked, more, free]
    written = sum(there.standin.said[key].written for key in rows)
    noted = sum(row["output_tokens"] for row in rows.values())
    verdict.figures["streams cut by a kill"] = (
        f"{len(rows)}: written {written:,} tokens, heard {heard.total():,}, charged for {noted:,}"
    )


# What they share.


async def _rows(there: World) -> dict[str, dict[str, Any]]:
    found = await there.admin.fetch(
        "select c.*, coalesce(u.credits, 0)::bigint as credits from inference.calls as c"
        " left join usage.records as u"
        " on u.account_id = c.account_id and u.reservation_id = c.id"
    )
    return {row["idempotency_key"]: dict(row) for row in found}


async def _ended(there: World) -> None:
    """Wait until no call is open any more."""
    async with asyncio.timeout(_SECONDS):
        while await there.admin.fetchval(
            "select count(*) from inference.calls where state in ('open', 'answered')"
        ):
            await asyncio.sleep(0.1)


async def _audited(there: World, verdict: Verdict, when: str) -> None:
    accounts = await there.admin.fetchval("select count(*) from credits.accounts")
    findings = Zero(f"findings of both audits {when}", accounts, "accounts")
    for audit in (Credits(there.database).audit, Usage(there.database).audit):
        for finding in await audit():
            findings.happened(f"{finding}")
    verdict.zeros.append(findings)


def _listed(counts: "Counter[str]") -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.most_common())


def _words(choices: Iterable[Any]) -> int:
    said = (choice.get("delta") or choice.get("message") or {} for choice in choices)
    return sum((each.get("content") or "").count(" ") for each in said)


def _client(there: World) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=CROWD + CALLERS, max_keepalive_connections=CROWD)
    return httpx.AsyncClient(base_url=there.api.url, timeout=_SECONDS, limits=limits)
