"""Inputs of calls of models."""

from enum import Enum
from typing import Any

import strawberry
from strawberry.scalars import JSON

from app.core.refusals import invalid
from app.core.telemetry import REQUEST_ID
from app.inference.asked import Asked, Kind
from app.inference.tasks import Task
from schema.context import Context
from schema.credits.inputs import RelatedEntityInput, optional, read_metadata
from schema.inputs import read_id, read_key, read_text, value_of

_MESSAGES = 500
_LONGEST = 200_000
_TOKENS = 8_192
_STOPS = 4


@strawberry.enum(description="Who said it.")
class ChatRole(Enum):
    """Roles of OpenAI's protocol."""

    SYSTEM = strawberry.enum_value("system", description="What the model is told to be.")
    USER = strawberry.enum_value("user", description="Who asks.")
    ASSISTANT = strawberry.enum_value("assistant", description="The model, earlier.")


@strawberry.input(description="One message of a conversation.")
class ChatMessageInput:
    """A message."""

    role: ChatRole = strawberry.field(description="Who said it.")
    content: str = strawberry.field(description="What was said.")


@strawberry.input
class _CallInput:
    """What every call has."""

    organization_id: strawberry.ID = strawberry.field(description="The organization that pays.")
    idempotency_key: str = strawberry.field(
        description="Names this call: a provider is asked once for it."
    )
    quality: str | None = optional("A level's key; else the lowest that has the model.")
    model: str | None = optional("A model's key; else the first of the level.")
    end_customer_ref: str | None = optional("An end customer, as you name them.")
    related: RelatedEntityInput | None = optional("What it is about.")


@strawberry.input
class _FreeInput(_CallInput):
    """What a call has whose question is the caller's own."""

    feature: str | None = optional("Which feature of the plan it is for, if it is another one.")
    max_tokens: int = strawberry.field(
        default=1_000, description="The most that may be written, 1 to 8192."
    )
    temperature: float | None = optional("0 to 2; else as the provider has it.")
    top_p: float | None = optional("0 to 1; else as the provider has it.")
    presence_penalty: float | None = optional("-2 to 2.")
    frequency_penalty: float | None = optional("-2 to 2.")
    stop: list[str] | None = optional("At most 4 texts before which the answer ends.")
    parameters: JSON | None = optional(
        "More of OpenAI's protocol, passed on as it is: tools, response_format, seed and so on."
    )


@strawberry.input(description="A conversation that a model is to go on with.")
class CreateChatCompletionInput(_FreeInput):
    """Input of `createChatCompletion` and `chatCompletionStream`."""

    messages: list[ChatMessageInput] = strawberry.field(
        description="What was said so far, at most 500 messages."
    )


@strawberry.input(description="A text that a model is to go on with.")
class CreateCompletionInput(_FreeInput):
    """Input of `createCompletion`."""

    prompt: str = strawberry.field(description="The text so far.")


@strawberry.input(description="What questions are wanted for.")
class SuggestQuestionsInput(_CallInput):
    """Input of `suggestQuestions`."""

    topic: str = strawberry.field(description="What they are about, at most 4,000 characters.")
    audience: str | None = optional("Who is asked.")
    existing: list[str] = strawberry.field(
        default_factory=list, description="What is asked already, at most 100 questions."
    )
    count: int = strawberry.field(default=5, description="How many, 1 to 20.")
    language: str | None = optional("In which language; else in that of the topic.")


@strawberry.input(description="What somebody was asked, and answered.")
class AnswerInput:
    """An answer."""

    question: str = strawberry.field(description="What was asked.")
    answer: str = strawberry.field(description="What was answered.")


@strawberry.input(description="Of what a testimonial is to be made.")
class AssembleTestimonialInput(_CallInput):
    """Input of `assembleTestimonial`."""

    answers: list[AnswerInput] = strawberry.field(description="At most 50 answers.")
    subject: str | None = optional("What it is about, such as a product.")
    author: str | None = optional("Who answered, if the text may say so.")
    tone: str | None = optional("How it is to sound.")
    language: str | None = optional("In which language; else in that of the answers.")
    customer_token: str | None = optional(
        "On a public page: who answers, as `createCustomerToken` said. Instead of `endCustomerRef`."
    )


@strawberry.input(description="A testimonial that is to be put into better words.")
class PolishTestimonialInput(_CallInput):
    """Input of `polishTestimonial`."""

    text: str = strawberry.field(description="The testimonial, at most 4,000 characters.")
    tone: str | None = optional("How it is to sound.")
    language: str | None = optional("In which language; else in its own.")


@strawberry.input(description="Whose token it is to be.")
class CreateCustomerTokenInput:
    """Input of `createCustomerToken`."""

    organization_id: strawberry.ID = strawberry.field(description="The organization.")
    end_customer_ref: str = strawberry.field(description="The end customer, as you name them.")
    related: RelatedEntityInput | None = optional("About what alone they may ask.")
    valid_seconds: int = strawberry.field(
        default=3_600, description="How long it is good for, at most 30 days."
    )


def chat_asked(source: CreateChatCompletionInput, context: Context, *, stream: bool) -> Asked:
    """Return what is asked by a conversation."""
    if not 1 <= len(source.messages) <= _MESSAGES:
        raise invalid("messages", f"must be from 1 to {_MESSAGES}")
    messages = [
        {"role": value_of(message.role), "content": _text(message.content, "messages.content")}
        for message in source.messages
    ]
    body = _body(source, "messages", messages)
    if stream:
        body["stream"] = True
    return _asked(source, context, Kind.CHAT, source.feature or Kind.CHAT.feature, body)


def text_asked(source: CreateCompletionInput, context: Context) -> Asked:
    """Return what is asked by a text."""
    body = _body(source, "prompt", _text(source.prompt, "prompt"))
    feature = source.feature or Kind.COMPLETION.feature
    return _asked(source, context, Kind.COMPLETION, feature, body)


def task_asked(source: _CallInput, context: Context, task: Task) -> Asked:
    """Return what is asked for a task."""
    return _asked(source, context, Kind.CHAT, task.feature, task.body)


def _asked(
    source: _CallInput, context: Context, kind: Kind, feature: str, body: dict[str, Any]
) -> Asked:
    related = source.related or RelatedEntityInput()
    if (model := read_text(source.model, "model")) is not None:
        body["model"] = model
    return Asked(
        read_id(source.organization_id, "organizationId"),
        kind,
        body,
        read_key(source.idempotency_key),
        read_text(feature, "feature") or "",
        read_text(source.quality, "quality"),
        context.actor,
        read_text(source.end_customer_ref, "endCustomerRef"),
        read_text(related.type, "related.type"),
        read_text(related.id, "related.id"),
        read_text(related.name, "related.name"),
        REQUEST_ID.get(),
    )


def _body(source: _FreeInput, name: str, asked: object) -> dict[str, Any]:
    stop = source.stop
    if stop is not None and not (1 <= len(stop) <= _STOPS and all(stop)):
        raise invalid("stop", f"must be 1 to {_STOPS} texts")
    for each in stop or ():
        read_text(each, "stop")
    own: dict[str, Any] = {
        name: asked,
        "max_tokens": _within(source.max_tokens, "maxTokens", 1, _TOKENS),
        "temperature": _within(source.temperature, "temperature", 0, 2),
        "top_p": _within(source.top_p, "topP", 0, 1),
        "presence_penalty": _within(source.presence_penalty, "presencePenalty", -2, 2),
        "frequency_penalty": _within(source.frequency_penalty, "frequencyPenalty", -2, 2),
        "stop": stop,
    }
    more = read_metadata(source.parameters, "parameters") or {}
    for taken in ("model", "stream", "stream_options", "max_completion_tokens", "n", *own):
        if taken in more:
            raise invalid("parameters", f"must not have {taken}, which is asked for otherwise")
    return {name: value for name, value in own.items() if value is not None} | more


def _within(value: float | None, name: str, least: int, most: int) -> float | None:
    if value is not None and not least <= value <= most:
        raise invalid(name, f"must be from {least} to {most}")
    return value


def _text(value: str, name: str) -> str:
    if not 1 <= len(value) <= _LONGEST or "\x00" in value:
        raise invalid(name, f"must have 1 to {_LONGEST} characters, none of them NUL")
    return value
