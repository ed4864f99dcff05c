"""Which providers can be asked, where, and with which key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


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
