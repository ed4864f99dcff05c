"""How long a stream takes to say its first piece, asked by one client."""

import asyncio
import statistics
import time
from dataclasses import dataclass

import aiohttp
import orjson

from benchmarks.gateways import Gateway, Lane

_SECONDS = 30


@dataclass(frozen=True)
class Waits:
    """Milliseconds to the first piece, and to the end."""

    streams: int
    median_ms: float
    p95_ms: float
    whole_ms: float


async def first_pieces(gateway: Gateway, lane: Lane, streams: int) -> Waits:
    """Read so many streams, one after the other."""
    body = orjson.dumps(lane.stream)
    headers = {
        "Authorization": f"Bearer {gateway.key}",
        "Content-Type": "application/json",
        **gateway.callers[0],
    }
    firsts, wholes = [], []
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for _ in range(streams):
            began = time.perf_counter()
            async with session.post(
                f"http://127.0.0.1:{gateway.port}/v1/chat/completions", data=body, headers=headers
            ) as response:
                response.raise_for_status()
                first, said = 0.0, b""
                async for piece in response.content.iter_any():
                    said += piece
                    if not first and b'"content":"' in said:
                        first = time.perf_counter() - began
            if not first or b"[DONE]" not in said:
                raise RuntimeError(f"no stream: {said!r:.300}")
            firsts.append(first * 1_000)
            wholes.append((time.perf_counter() - began) * 1_000)
            # As between two questions of one person: what ends beside a stream has ended.
            await asyncio.sleep(0.005)
    firsts.sort()
    return Waits(
        streams,
        statistics.median(firsts),
        firsts[min(len(firsts) - 1, int(len(firsts) * 0.95))],
        statistics.median(wholes),
    )
