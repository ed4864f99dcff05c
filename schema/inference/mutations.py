"""Mutations of the inference domain: each one call of a model, by the one flow."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry.types import Info

from app.core.database import Unavailable
from app.core.refusals import invalid
from app.core.telemetry import log
from app.identity.customers import Customer
from app.identity.rights import Operation
from app.inference import tasks
from app.inference.asked import Asked
from app.inference.inference import Check, Completion
from app.inference.lane import ProviderFailed
from schema.context import Context, account_of
from schema.credits.inputs import RelatedEntityInput
from schema.inference.inputs import (
    AssembleTestimonialInput,
    CreateChatCompletionInput,
    CreateCompletionInput,
    CreateCustomerTokenInput,
    PolishTestimonialInput,
    SuggestQuestionsInput,
    chat_asked,
    task_asked,
    text_asked,
)
from schema.inference.results import (
    AssembleTestimonialResult,
    AssembleTestimonialSuccess,
    CreateChatCompletionResult,
    CreateChatCompletionSuccess,
    CreateCompletionResult,
    CreateCompletionSuccess,
    CreateCustomerTokenResult,
    CreateCustomerTokenSuccess,
    ModelCall,
    PolishTestimonialResult,
    PolishTestimonialSuccess,
    SuggestQuestionsResult,
    SuggestQuestionsSuccess,
)
from schema.inputs import read_text
from schema.refusals import RefusalsAsData

_LONGEST_TOKEN_SECONDS = 30 * 86_400

Input = strawberry.argument(description="What to do.")


@strawberry.type
class InferenceMutations:
    """What can be asked of models."""

    @strawberry.mutation(
        description="Let a model go on with a conversation: reserved for, answered, charged."
        " An answer may take a minute; `chatCompletionStream` tells it piece by piece.",
        extensions=[RefusalsAsData()],
    )
    async def create_chat_completion(
        self,
        info: Info[Any, Any],
        input: Annotated[CreateChatCompletionInput, Input],  # noqa: A002  # the contract's word
    ) -> CreateChatCompletionResult:
        context, _ = await account_of(info, Operation.CALL_MODELS, input.organization_id)
        done = await _complete(context, chat_asked(input, context, stream=False))
        return CreateChatCompletionSuccess.of(done)

    @strawberry.mutation(
        description="Let a model go on with a text: reserved for, answered, charged.",
        extensions=[RefusalsAsData()],
    )
    async def create_completion(
        self,
        info: Info[Any, Any],
        input: Annotated[CreateCompletionInput, Input],  # noqa: A002
    ) -> CreateCompletionResult:
        context, _ = await account_of(info, Operation.CALL_MODELS, input.organization_id)
        done = await _complete(context, text_asked(input, context))
        return CreateCompletionSuccess.of(done)

    @strawberry.mutation(
        description="Think of questions that people can be asked. An answer without any is none,"
        " and costs nothing.",
        extensions=[RefusalsAsData()],
    )
    async def suggest_questions(
        self,
        info: Info[Any, Any],
        input: Annotated[SuggestQuestionsInput, Input],  # noqa: A002
    ) -> SuggestQuestionsResult:
        context, _ = await account_of(info, Operation.CALL_MODELS, input.organization_id)
        task = tasks.suggest_questions(
            input.topic,
            audience=input.audience,
            existing=input.existing,
            count=input.count,
            language=input.language,
        )

        def read(answer: Mapping[str, Any]) -> list[str]:
            return tasks.read_questions(answer, task, input.count)

        done = await _complete(context, task_asked(input, context, task), read)
        return SuggestQuestionsSuccess(questions=done.checked, call=ModelCall.of(done))

    @strawberry.mutation(
        description="Make a testimonial of what somebody answered. A public page asks with an"
        " organization's key and, for limits of each end customer, with a customer's token.",
        extensions=[RefusalsAsData()],
    )
    async def assemble_testimonial(
        self,
        info: Info[Any, Any],
        input: Annotated[AssembleTestimonialInput, Input],  # noqa: A002
    ) -> AssembleTestimonialResult:
        context, _ = await account_of(info, Operation.CALL_MODELS, input.organization_id)
        task = tasks.assemble_testimonial(
            [(each.question, each.answer) for each in input.answers],
            subject=input.subject,
            author=input.author,
            tone=input.tone,
            language=input.language,
        )

        def read(answer: Mapping[str, Any]) -> str:
            return tasks.read_testimonial(answer, task)

        asked = task_asked(input, context, task)
        if input.customer_token is not None:
            asked = _as_customer(context, asked, input.customer_token)
        done = await _complete(context, asked, read)
        return AssembleTestimonialSuccess(
            testimonial=done.checked,
            generations_remaining=await _remaining(context, asked),
            call=ModelCall.of(done),
        )

    @strawberry.mutation(
        description="Put a testimonial into better words.", extensions=[RefusalsAsData()]
    )
    async def polish_testimonial(
        self,
        info: Info[Any, Any],
        input: Annotated[PolishTestimonialInput, Input],  # noqa: A002
    ) -> PolishTestimonialResult:
        context, _ = await account_of(info, Operation.CALL_MODELS, input.organization_id)
        task = tasks.polish_testimonial(input.text, tone=input.tone, language=input.language)

        def read(answer: Mapping[str, Any]) -> str:
            return tasks.read_testimonial(answer, task)

        done = await _complete(context, task_asked(input, context, task), read)
        return PolishTestimonialSuccess(testimonial=done.checked, call=ModelCall.of(done))

    @strawberry.mutation(
        description="Make a token by which a public page says who an end customer is.",
        extensions=[RefusalsAsData()],
    )
    async def create_customer_token(
        self,
        info: Info[Any, Any],
        input: Annotated[CreateCustomerTokenInput, Input],  # noqa: A002
    ) -> CreateCustomerTokenResult:
        context, organization_id = await account_of(
            info, Operation.IDENTIFY_CUSTOMER, input.organization_id
        )
        if not 1 <= input.valid_seconds <= _LONGEST_TOKEN_SECONDS:
            raise invalid("validSeconds", f"must be from 1 to {_LONGEST_TOKEN_SECONDS}")
        if not (ref := read_text(input.end_customer_ref, "endCustomerRef")):
            raise invalid("endCustomerRef", "must not be empty")
        related = input.related or RelatedEntityInput()
        read_text(related.name, "related.name")
        customer = Customer(
            organization_id,
            ref,
            read_text(related.type, "related.type"),
            read_text(related.id, "related.id"),
            datetime.now(UTC) + timedelta(seconds=input.valid_seconds),
        )
        return CreateCustomerTokenSuccess(
            token=context.services.customers.make(customer), expires_at=customer.expires_at
        )


async def _complete(context: Context, asked: Asked, check: Check | None = None) -> Completion:
    try:
        return await context.services.inference.complete(asked, check)
    except ProviderFailed as failed:
        raise failed.refusal from failed


def _as_customer(context: Context, asked: Asked, token: str) -> Asked:
    if asked.end_customer_ref is not None:
        raise invalid("customerToken", "is instead of endCustomerRef")
    customer = context.services.customers.read(token, asked.organization_id, datetime.now(UTC))
    if customer.related_id is not None and asked.related_id not in (None, customer.related_id):
        raise invalid("customerToken", "must be about what is asked")
    return replace(
        asked,
        end_customer_ref=customer.ref,
        related_type=customer.related_type or asked.related_type,
        related_id=customer.related_id or asked.related_id,
    )


async def _remaining(context: Context, asked: Asked) -> int | None:
    """Return how many more may be asked for now; None without a limit, or where it is not known."""
    organization_id: UUID = asked.organization_id
    try:
        rows = await context.services.inference.calls.read_limits(
            organization_id,
            end_customer_ref=asked.end_customer_ref,
            related_id=asked.related_id,
        )
    except Unavailable as error:
        # The answer is charged for: it is not lost for a figure beside it.
        log.warning("inference.limits_not_read", error=str(error))
        return None
    left = [limit["left"] for row in rows if row.feature == asked.feature for limit in row.limits]
    return min(left, default=None)
