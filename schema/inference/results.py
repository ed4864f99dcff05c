"""What the mutations of calls answer: their success, or one of the refusals they list."""

from datetime import datetime
from typing import Annotated, Any, Final

import strawberry
from strawberry.scalars import JSON

from app.inference.inference import Completion
from app.inference.usage import Usage
from schema.credits.types import CreditBalance
from schema.refusals import Forbidden, InvalidInput, NotFound, OfCalling
from schema.scalars import Credits

# As much as GraphQL's Int holds.
_MOST_SHOWN: Final = 2**31 - 1


def shown_tokens(told: int) -> int:
    """Return a number of tokens as it is shown: nonsense is shown as the largest there is."""
    return min(told, _MOST_SHOWN)


@strawberry.type(description="What a call used, as the provider says.")
class ModelUsage:
    """Tokens."""

    input_tokens: int = strawberry.field(description="What was read.")
    cached_input_tokens: int = strawberry.field(description="Of that, from a cache.")
    output_tokens: int = strawberry.field(description="What was written.")
    is_estimated: bool = strawberry.field(
        description="Whether the provider did not say, so that it was counted here."
    )

    @classmethod
    def of(cls, usage: Usage) -> "ModelUsage":
        """Return the type of a usage."""
        return cls(
            input_tokens=shown_tokens(usage.input),
            cached_input_tokens=shown_tokens(usage.cached_input),
            output_tokens=shown_tokens(usage.output),
            is_estimated=usage.is_estimated,
        )


@strawberry.type(description="A call that was answered, and its charge.")
class ModelCall:
    """A call."""

    id: strawberry.ID = strawberry.field(description="Ask `charge` for all about it.")
    model: str = strawberry.field(description="The model that answered.")
    usage: ModelUsage = strawberry.field(description="What it used.")
    credits_used: Credits | None = strawberry.field(
        description="What was charged; null where the charge is still to come."
    )
    balance: CreditBalance | None = strawberry.field(
        description="The balance after it; null where the charge is still to come."
    )

    @classmethod
    def of(cls, done: Completion) -> "ModelCall":
        """Return the type of a whole answer."""
        return cls(
            id=strawberry.ID(str(done.call.id)),
            model=done.call.model,
            usage=ModelUsage.of(done.usage),
            credits_used=None if done.credits is None else Credits(done.credits),
            balance=None if done.balance is None else CreditBalance.of(done.balance),
        )


def _choice(done: Completion) -> dict[str, Any]:
    choices = done.told.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


@strawberry.type(description="The model has gone on with the conversation.")
class CreateChatCompletionSuccess:
    """Result of `createChatCompletion`."""

    content: str | None = strawberry.field(
        description="What it said; null where it calls tools or refuses."
    )
    refusal: str | None = strawberry.field(description="Why the model itself refuses, if so.")
    tool_calls: JSON | None = strawberry.field(
        description="The tools it calls, as OpenAI's protocol has them."
    )
    finish_reason: str | None = strawberry.field(description="Why it ended: stop, length.")
    call: ModelCall = strawberry.field(description="The call, and its charge.")

    @classmethod
    def of(cls, done: Completion) -> "CreateChatCompletionSuccess":
        """Return the result of a whole answer."""
        choice = _choice(done)
        message = choice.get("message")
        said = message if isinstance(message, dict) else {}
        return cls(
            content=_text(said.get("content")),
            refusal=_text(said.get("refusal")),
            tool_calls=said.get("tool_calls"),
            finish_reason=_text(choice.get("finish_reason")),
            call=ModelCall.of(done),
        )


@strawberry.type(description="The model has gone on with the text.")
class CreateCompletionSuccess:
    """Result of `createCompletion`."""

    text: str = strawberry.field(description="What it wrote.")
    finish_reason: str | None = strawberry.field(description="Why it ended: stop, length.")
    call: ModelCall = strawberry.field(description="The call, and its charge.")

    @classmethod
    def of(cls, done: Completion) -> "CreateCompletionSuccess":
        """Return the result of a whole answer."""
        choice = _choice(done)
        return cls(
            text=_text(choice.get("text")) or "",
            finish_reason=_text(choice.get("finish_reason")),
            call=ModelCall.of(done),
        )


@strawberry.type(description="Questions that can be asked.")
class SuggestQuestionsSuccess:
    """Result of `suggestQuestions`."""

    questions: list[str] = strawberry.field(description="At most as many as were wanted.")
    call: ModelCall = strawberry.field(description="The call, and its charge.")


@strawberry.type(description="A testimonial, made of answers.")
class AssembleTestimonialSuccess:
    """Result of `assembleTestimonial`."""

    testimonial: str = strawberry.field(description="The text.")
    generations_remaining: int | None = strawberry.field(
        description="How many more may be made now, by whoever asked; null is no limit."
    )
    call: ModelCall = strawberry.field(description="The call, and its charge.")


@strawberry.type(description="A testimonial in better words.")
class PolishTestimonialSuccess:
    """Result of `polishTestimonial`."""

    testimonial: str = strawberry.field(description="The text.")
    call: ModelCall = strawberry.field(description="The call, and its charge.")


@strawberry.type(description="A token for a public page.")
class CreateCustomerTokenSuccess:
    """Result of `createCustomerToken`."""

    token: str = strawberry.field(description="Who holds it is that end customer.")
    expires_at: datetime = strawberry.field(description="Until then.")


CreateChatCompletionResult = Annotated[
    CreateChatCompletionSuccess | OfCalling,
    strawberry.union("CreateChatCompletionResult", description="What came of it."),
]
CreateCompletionResult = Annotated[
    CreateCompletionSuccess | OfCalling,
    strawberry.union("CreateCompletionResult", description="What came of it."),
]
SuggestQuestionsResult = Annotated[
    SuggestQuestionsSuccess | OfCalling,
    strawberry.union("SuggestQuestionsResult", description="What came of it."),
]
AssembleTestimonialResult = Annotated[
    AssembleTestimonialSuccess | OfCalling,
    strawberry.union("AssembleTestimonialResult", description="What came of it."),
]
PolishTestimonialResult = Annotated[
    PolishTestimonialSuccess | OfCalling,
    strawberry.union("PolishTestimonialResult", description="What came of it."),
]
CreateCustomerTokenResult = Annotated[
    CreateCustomerTokenSuccess | Forbidden | NotFound | InvalidInput,
    strawberry.union("CreateCustomerTokenResult", description="What came of it."),
]
