"""The stand-in for providers as a process of its own, on PORT."""

import asyncio
import os

from app.standin import StandIn


async def main() -> None:
    """Serve until it is stopped."""
    standin = StandIn(key=os.environ["STANDIN_KEY"], port=int(os.environ["PORT"]))
    await standin.start()
    try:
        await asyncio.Event().wait()
    finally:
        await standin.stop()


if __name__ == "__main__":
    asyncio.run(main())
