"""A model's answer piece by piece, over whatever a subscription comes by."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import orjson
import strawberry
from strawberry.scalars import JSON
from strawberry.types import Info

from app.core.refusals import Refusal
from app.identity.rights import Operation
from app.inference.lane import ProviderFailed
from app.inference.sse import data_of
from app.inference.streams import LAST_EVENT, Stream
from schema.credits.types import CreditBalance
from schema.groups import Keeps, Topic, group_context_of
from schema.inference.inputs import CreateChatCompletionInput, chat_asked
from schema.inference.results import ModelUsage
from schema.inputs import read_id
from schema.scalars import Credits

Input = strawberry.argument(description="What to do.")


@strawberry.type(description="A piece of an answer; the last one tells what it cost.")
class ChatCompletionChunk:
    """A piece."""

    call_id: strawberry.ID = strawberry.field(description="Ask `charge` for all about the call.")
    model: str = strawberry.field(description="The model that answers.")
    content: str = strawberry.field(description="What it said since the piece before.")
    tool_calls: JSON | None = strawberry.field(
        description="Pieces of calls of tools, as OpenAI's protocol has them."
    )
    finish_reason: str | None = strawberry.field(
        description="Why it has ended; `length` also where the credits did."
    )
    usage: ModelUsage | None = strawberry.field(description="What it used: in the last piece.")
    credits_used: Credits | None = strawberry.field(
        description="What was charged: in the last piece, unless the charge is still to come."
    )
    balance: CreditBalance | None = strawberry.field(
        description="The balance after it: in the last piece, unless the charge is still to come."
    )


@strawberry.type
class InferenceSubscriptions:
    """What models can be heard saying."""

    @strawberry.subscription(
        description="Let a model go on with a conversation, and tell it as it speaks. Credits are"
        " reserved as it goes on; where they end, so does the answer, in order. Who leaves is"
        " charged for what was written.",
        metadata={"topic": Topic("chat completion", Keeps.OWN)},
    )
    async def chat_completion_stream(
        self,
        info: Info[Any, Any],
        input: Annotated[CreateChatCompletionInput, Input],  # noqa: A002  # the contract's word
    ) -> AsyncIterator[ChatCompletionChunk]:
        context = group_context_of(info)
        context.require(Operation.CALL_MODELS)
        account_id = read_id(input.organization_id, "organizationId")
        await context.authorize(Operation.CALL_MODELS, account_id)
        context.admit()
        asked = chat_asked(input, context, stream=True)
        try:
            stream = await context.services.inference.stream(asked)
        except ProviderFailed as failed:
            raise failed.refusal from failed
        try:
            async with aclosing(stream.events()) as events:
                async for event in events:
                    if event != LAST_EVENT and (chunk := _chunk(stream, event)) is not None:
                        yield chunk
        finally:
            # Also where nothing of it was read.
            await stream.close()
        yield _last(stream)


def _chunk(stream: Stream, event: bytes) -> ChatCompletionChunk | None:
    told = orjson.loads(data_of(event) or b"null")
    if not isinstance(told, dict):
        return None
    if "error" in told:
        raise Refusal("PROVIDER_ERROR")
    choices = told.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return None
    delta = choice.get("delta")
    said = delta if isinstance(delta, dict) else {}
    content, reason = said.get("content"), choice.get("finish_reason")
    if not content and reason is None and not said.get("tool_calls"):
        return None
    return ChatCompletionChunk(
        call_id=strawberry.ID(str(stream.call.id)),
        model=stream.call.model,
        content=content if isinstance(content, str) else "",
        tool_calls=said.get("tool_calls"),
        finish_reason=reason if isinstance(reason, str) else None,
        usage=None,
        credits_used=None,
        balance=None,
    )


def _last(stream: Stream) -> ChatCompletionChunk:
    usage, settled = stream.usage, stream.settled
    balance = None if settled is None else settled.balance
    return ChatCompletionChunk(
        call_id=strawberry.ID(str(stream.call.id)),
        model=stream.call.model,
        content="",
        tool_calls=None,
        finish_reason=None,
        usage=None if usage is None else ModelUsage.of(usage),
        credits_used=None if settled is None else Credits(settled.settled_amount),
        balance=None if balance is None else CreditBalance.of(balance),
    )
