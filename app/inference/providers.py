"""Which providers can be asked, where, and with which key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit


class Protocol(StrEnum):
    """How a provider is spoken to."""

    OPENAI = "openai"
    LITELLM = "litellm"


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that can be asked."""

    name: str
    protocol: Protocol
    base_url: str | None
    key: str = field(repr=False)

    @property
    def limit_name(self) -> str:
        """What it calls the bound of an answer."""
        return "max_completion_tokens" if self.name == "openai" else "max_tokens"


# Those that are known by name: only a key is missing.
KNOWN: Final[Mapping[str, tuple[Protocol, str | None]]] = {
    "openai": (Protocol.OPENAI, "https://api.openai.com/v1"),
    "google": (Protocol.OPENAI, "https://generativelanguage.googleapis.com/v1beta/openai"),
    "anthropic": (Protocol.LITELLM, None),
    "mistral": (Protocol.OPENAI, "https://api.mistral.ai/v1"),
    "groq": (Protocol.OPENAI, "https://api.groq.com/openai/v1"),
    "deepseek": (Protocol.OPENAI, "https://api.deepseek.com/v1"),
    "openrouter": (Protocol.OPENAI, "https://openrouter.ai/api/v1"),
    "together": (Protocol.OPENAI, "https://api.together.xyz/v1"),
}


def make_provider(
    name: str, key: str, base_url: str | None = None, protocol: Protocol | None = None
) -> Provider:
    """Return a provider; raises `ValueError` for one that nobody knows where to find.

    Whoever names an address but no protocol speaks OpenAI's there.
    """
    usual, known = KNOWN.get(name, (Protocol.OPENAI, None))
    if base_url is not None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{name}: base_url must be an address such as https://host/v1")
        protocol = protocol or Protocol.OPENAI
    elif name not in KNOWN and protocol is not Protocol.LITELLM:
        raise ValueError(f"{name}: not known by name, so it needs a base_url")
    if not key:
        raise ValueError(f"{name}: api_key is empty")
    protocol = protocol or usual
    if protocol is Protocol.LITELLM:
        # It knows where its providers are.
        known = None
    return Provider(name, protocol, (base_url or known or "").rstrip("/") or None, key)
