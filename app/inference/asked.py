"""What somebody asks of a model, whatever way it came; and what of it is told to providers."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import orjson

from app.core.refusals import invalid
from app.credits import Actor

_LIMITS: Final = ("max_completion_tokens", "max_tokens")
_AT_MOST: Final = 100_000_000
_LONGEST_KEY: Final = 255
_CHOICES_AT_MOST: Final = 128
# Tiers of service that cost no more than a model's price says. `auto` is what leaving it out is:
# the operator chose a tier in the account at the provider, and prices models by it.
_TIERS: Final = ("auto", "default", "flex")
_SOUNDS: Final = ("input_audio", "audio", "audio_url")


class Kind(StrEnum):
    """What is asked for."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"

    @property
    def feature(self) -> str:
        """The feature of a plan that opens it, unless another is named."""
        return "chat_completion" if self is Kind.CHAT else "text_completion"

    @property
    def path(self) -> str:
        """Where OpenAI's protocol has it."""
        return _PATHS[self]

    @property
    def prompt(self) -> str:
        """What a body of this kind cannot be without."""
        return _PROMPTS[self]


_PATHS: Final = {
    Kind.CHAT: "/chat/completions",
    Kind.COMPLETION: "/completions",
    Kind.EMBEDDING: "/embeddings",
}
_PROMPTS: Final = {Kind.CHAT: "messages", Kind.COMPLETION: "prompt", Kind.EMBEDDING: "input"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for an answer.

    `body` is one of OpenAI's protocol; what is not known of it passes through.
    """

    organization_id: UUID
    kind: Kind
    body: Mapping[str, Any]
    idempotency_key: str
    feature: str
    quality: str | None = None
    actor: Actor | None = None
    end_customer_ref: str | None = None
    related_type: str | None = None
    related_id: str | None = None
    related_name: str | None = None
    trace_id: str | None = None

    @property
    def model(self) -> str | None:
        """Which model is asked; None leaves it to the plan."""
        model = self.body.get("model")
        if model is None or model == "auto":
            return None
        if not isinstance(model, str) or "\0" in model or len(model) > _LONGEST_KEY:
            raise invalid("model", "must be the key of a model, or auto")
        return model

    @property
    def is_stream(self) -> bool:
        """Whether it is to be answered piece by piece."""
        value = self.body.get("stream")
        if not isinstance(value, bool | None):
            raise invalid("stream", "must be true or false")
        return bool(value)

    @property
    def wants_usage(self) -> bool:
        """Whether the usage of a stream was asked for."""
        options = self.body.get("stream_options")
        return isinstance(options, Mapping) and options.get("include_usage") is True

    @property
    def output_tokens(self) -> int | None:
        """How much each choice may write, if it was said."""
        if self.kind is Kind.EMBEDDING:
            return 0
        told = []
        for name in _LIMITS:
            value = self.body.get(name)
            if value is not None:
                if not _is_whole(value, _AT_MOST):
                    raise invalid(name, f"must be a whole number from 1 to {_AT_MOST}")
                told.append(int(value))
        return min(told, default=None)

    @property
    def choices(self) -> int:
        """How many answers are asked for: of each prompt, so many."""
        answers = 1
        for name in ("n", "best_of"):
            value = self.body.get(name)
            if value is not None:
                if not _is_whole(value, _CHOICES_AT_MOST):
                    raise invalid(name, f"must be a whole number from 1 to {_CHOICES_AT_MOST}")
                answers = max(answers, value)
        prompts = self.body.get("prompt")
        if self.kind is Kind.COMPLETION and isinstance(prompts, list):
            answers *= sum(not isinstance(each, int) for each in prompts) or 1
        if answers > _CHOICES_AT_MOST:
            raise invalid("prompt", f"must come to at most {_CHOICES_AT_MOST} answers")
        return answers

    @property
    def fingerprint(self) -> bytes:
        """A digest of all that was asked: the same key must come with the same."""
        asked = [
            self.kind,
            self.feature,
            self.quality,
            self.end_customer_ref,
            self.related_id,
            self.body,
        ]
        return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()

    def check(self) -> None:
        """Refuse what cannot be asked."""
        if not self.body.get(self.kind.prompt):
            raise invalid(self.kind.prompt, "must not be missing or empty")
        if self.kind is Kind.CHAT and not isinstance(self.body["messages"], list):
            raise invalid("messages", "must be a list")
        if self.kind is Kind.EMBEDDING:
            if self.is_stream:
                raise invalid("stream", "must be false for embeddings")
            if self.model is None:
                raise invalid("model", "must be named: each has vectors of its own")
        self._check_priced()

    def _check_priced(self) -> None:
        """Refuse what costs its provider's other prices: it would be charged too little."""
        tier = self.body.get("service_tier")
        if tier is not None and tier not in _TIERS:
            told = ", ".join(_TIERS[:-1])
            raise invalid(
                "service_tier", f"must be {told} or {_TIERS[-1]}: others have no price here"
            )
        kinds = self.body.get("modalities")
        if kinds is not None and kinds != ["text"]:
            raise invalid("modalities", "must be text alone: others have no price here")
        if self.body.get("audio") is not None:
            raise invalid("audio", "must be left out: sound has no price here")
        messages = self.body.get("messages")
        for message in messages if isinstance(messages, list) else ():
            if _has_sound(message):
                raise invalid("messages", "must be without audio: sound has no price here")

    def body_for(self, model: str, output_tokens: int | None, limit_name: str) -> dict[str, Any]:
        """Return the body for a provider: its name of the model, and what bounds the answer.

        `output_tokens`: what each answer may have at most, if that is known. A bound goes by the
        name that the provider reads: by another it would be refused, or none.
        """
        body = {**self.body, "model": model}
        if self.is_stream:
            options = body.get("stream_options")
            kept = options if isinstance(options, Mapping) else {}
            body["stream_options"] = {**kept, "include_usage": True}
        bounds = [each for each in (output_tokens, self.output_tokens) if each is not None]
        if bounds and self.kind is not Kind.EMBEDDING:
            for name in _LIMITS:
                body.pop(name, None)
            body[limit_name if self.kind is Kind.CHAT else "max_tokens"] = min(bounds)
        return body


def _has_sound(message: object) -> bool:
    if not isinstance(message, Mapping):
        return False
    # An earlier spoken answer is read again by its id.
    if message.get("audio") is not None:
        return True
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    return any(isinstance(part, Mapping) and _is_sound(part) for part in parts)


def _is_sound(part: Mapping[str, Any]) -> bool:
    if part.get("type") in _SOUNDS:
        return True
    # Some read it from where pictures and files go.
    for name in ("image_url", "file", "input_file"):
        told = part.get(name)
        for value in told.values() if isinstance(told, Mapping) else (told,):
            if isinstance(value, str) and value[:11].lower().startswith(("data:audio/", "audio/")):
                return True
    return False


def _is_whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
