"""The control of the push row: what Redis says goes to every socket, as it is.

The `websockets` library alone: no GraphQL, no accounts, no authentication, no pacing. The
same pings as the API's.
"""

import asyncio
import os
import signal

import uvloop
from redis.asyncio import Redis
from websockets.asyncio.server import ServerConnection, broadcast, serve

CHANNEL = "plain-push"


async def _serve(port: int, redis_url: str) -> None:
    sockets: set[ServerConnection] = set()

    async def hold(socket: ServerConnection) -> None:
        sockets.add(socket)
        try:
            await socket.wait_closed()
        finally:
            sockets.discard(socket)

    async def push() -> None:
        async with Redis.from_url(redis_url) as redis, redis.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            async for message in pubsub.listen():
                if message["type"] == "message":
                    broadcast(sockets, message["data"], text=True)

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    pushing = asyncio.create_task(push())
    async with serve(hold, "127.0.0.1", port, ping_interval=20, ping_timeout=20, backlog=2048):
        await stop.wait()
    pushing.cancel()
    await asyncio.gather(pushing, return_exceptions=True)


if __name__ == "__main__":
    uvloop.run(_serve(int(os.environ["PORT"]), os.environ["REDIS_URL"]))
