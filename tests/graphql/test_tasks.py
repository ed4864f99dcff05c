"""Tasks over GraphQL: answers of a given form, and end customers of public pages."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.catalog import Catalog
from app.catalog.edits import PlanFeatureTerms, PlanLevelTerms
from app.core.database import Database
from app.identity.customers import Customer, CustomerTokens
from db.driver import Connection
from tests.graphql.asking import Asking, charged
from tests.graphql.requests import Requests
from tests.support.api import SECRET_KEY, Api
from tests.support.callers import Caller, Tenants
from tests.support.catalogs import MODEL, OTHER, PLAN, PRICE


@pytest.fixture(autouse=True)
async def _sold(requests: Requests) -> None:
    await requests.sell()


async def test_questions_are_suggested(asking: Asking) -> None:
    result = await asking.ask("suggestQuestions", topic="bread tokens=4", count=2)
    assert result["questions"] == [
        "Credits are reserved before 1",
        "Credits are reserved before 2",
    ]
    assert result["call"]["creditsUsed"] == "0.25"


async def test_what_nobody_sees_is_left_out(asking: Asking) -> None:
    result = await asking.ask("suggestQuestions", topic="bread\u202e \t and\x07 butter")
    assert result["__typename"] == "SuggestQuestionsSuccess"
    result = await asking.ask("suggestQuestions", topic="\u200b\u202e")
    assert (result["__typename"], result["field"]) == ("InvalidInput", "topic")


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("suggestQuestions", {"topic": "bread form=bad"}),
        ("assembleTestimonial", {"answers": [{"question": "How?", "answer": "Well form=bad"}]}),
        ("polishTestimonial", {"text": "it was good form=bad"}),
    ],
)
async def test_an_answer_in_another_form_costs_nothing(
    asking: Asking,
    admin: Connection,
    organization: str,
    operation: str,
    fields: dict[str, Any],
) -> None:
    result = await asking.ask(operation, **fields)
    assert result["code"] == "PROVIDER_ERROR"
    assert await charged(admin, organization) == []


async def test_who_can_keep_the_form_stands_in(
    asking: Asking, database: Database, tenants: Tenants
) -> None:
    """The model that is asked first fails; the other keeps the form."""
    catalog = Catalog(database)
    await catalog.upsert_model(
        tenants.project, MODEL._replace(provider_model_id="always-broken"), PRICE
    )
    await catalog.upsert_model(tenants.project, OTHER, PRICE)
    levels = [PlanLevelTerms("testimonial_polish", "fast", ["small", "other"])]
    await catalog.upsert_plan(
        tenants.project,
        PLAN._replace(key="calls"),
        [PlanFeatureTerms("testimonial_polish")],
        levels,
    )
    result = await asking.ask("polishTestimonial", text="it was good tokens=3")
    assert result["testimonial"] == "Credits are reserved"
    assert result["call"]["model"] == "other"


async def limited(database: Database, tenants: Tenants) -> None:
    """Let each end customer have two testimonials a day of each thing."""
    await Catalog(database).upsert_plan(
        tenants.project,
        PLAN._replace(key="calls"),
        [PlanFeatureTerms("testimonial_assembly", any_model=True, per_customer_day=2)],
        [],
    )


ANSWERS = [{"question": "How was it?", "answer": "Good."}]


async def test_who_is_nobody_in_particular_has_no_limit(
    asking: Asking, database: Database, tenants: Tenants
) -> None:
    await limited(database, tenants)
    result = await asking.ask("assembleTestimonial", answers=ANSWERS)
    assert (result["generationsRemaining"], result["testimonial"].split()[0]) == (None, "Credits")


async def token(api: Api, organization: str, ref: str = "eve", **more: Any) -> str:
    """Return a customer's token."""
    asked = {"organizationId": organization, "endCustomerRef": ref, **more}
    made = (await api.run("createCustomerToken", {"input": asked}, Caller.PROJECT)).result
    assert made["__typename"] == "CreateCustomerTokenSuccess"
    return str(made["token"])


async def test_a_token_says_who_somebody_is(
    asking: Asking,
    api: Api,
    organization: str,
    admin: Connection,
    database: Database,
    tenants: Tenants,
) -> None:
    await limited(database, tenants)
    said = await token(api, organization, related={"type": "form", "id": "f-1"})
    for left in (1, 0):
        result = await asking.ask("assembleTestimonial", answers=ANSWERS, customerToken=said)
        assert result["generationsRemaining"] == left
    result = await asking.ask("assembleTestimonial", answers=ANSWERS, customerToken=said)
    assert (result["code"], result["limit"]) == ("RATE_LIMITED", "per_customer_day")
    other = await token(api, organization, "adam", related={"type": "form", "id": "f-1"})
    result = await asking.ask("assembleTestimonial", answers=ANSWERS, customerToken=other)
    assert result["generationsRemaining"] == 1
    kept = await admin.fetch(
        "select end_customer_ref, related_type, related_id from inference.calls"
        " where account_id = $1 order by id",
        UUID(organization),
    )
    assert [tuple(row) for row in kept] == [
        ("eve", "form", "f-1"),
        ("eve", "form", "f-1"),
        ("adam", "form", "f-1"),
    ]


async def test_a_token_that_is_none_is_refused(
    asking: Asking, api: Api, organization: str, tenants: Tenants
) -> None:
    good = await token(api, organization)
    sibling = await token(api, str(tenants.sibling))
    ended = datetime.now(UTC) - timedelta(seconds=1)
    late = CustomerTokens(SECRET_KEY).make(Customer(UUID(organization), "eve", None, None, ended))
    for bad in ("eve", good[:-3] + "AAA", sibling, late, "exq_c_" + "x" * 3_000):
        result = await asking.ask("assembleTestimonial", answers=ANSWERS, customerToken=bad)
        assert (result["__typename"], result["field"]) == ("InvalidInput", "customerToken"), bad
    result = await asking.ask(
        "assembleTestimonial", answers=ANSWERS, customerToken=good, endCustomerRef="adam"
    )
    assert result["field"] == "customerToken"
    about = await token(api, organization, related={"id": "f-1"})
    result = await asking.ask(
        "assembleTestimonial", answers=ANSWERS, customerToken=about, related={"id": "f-2"}
    )
    assert result["field"] == "customerToken"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"endCustomerRef": ""}, "endCustomerRef"),
        ({"validSeconds": 0}, "validSeconds"),
        ({"validSeconds": 2_592_001}, "validSeconds"),
    ],
)
async def test_what_makes_no_token_is_refused(
    api: Api, organization: str, fields: dict[str, Any], field: str
) -> None:
    asked = {"organizationId": organization, "endCustomerRef": "eve", **fields}
    result = (await api.run("createCustomerToken", {"input": asked})).result
    assert (result["__typename"], result["field"]) == ("InvalidInput", field)
