"""The API with a fault planted in it: what litellm says of tokens is read as Anthropic counts them.

`python -m tests.proof.calls.planted serve`. There, what came from a cache is no part of the input.
"""

from typing import Any

from app.cli import main
from app.inference import litellm

_shown = litellm._shown


def _misread(told: dict[str, Any]) -> dict[str, Any]:
    usage = _shown(told).get("usage")
    if isinstance(usage, dict):
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        for name in ("prompt_tokens", "total_tokens"):
            usage[name] -= cached
    return told


if __name__ == "__main__":
    litellm._shown = _misread
    main()
