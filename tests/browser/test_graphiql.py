"""GraphiQL as a person has it: in a browser, without any other host."""

from pathlib import Path
from uuid import UUID

from tests.browser.conftest import Person
from tests.support.live import ADMIN_KEY, LiveServer, until

NOT_SIGNED_IN = (
    "No valid key was sent."
    " Send `Authorization: Bearer <key>`; the key may be mistyped, expired or revoked."
)


def balance(name: str, organization: str) -> str:
    return (
        f'query {name} {{ creditBalance(organizationId: "{organization}")'
        " { available reserved version } }"
    )


async def test_the_page_loads_without_a_complaint_and_asks_this_server_alone(
    person: Person,
) -> None:
    await person("click", "Show Documentation Explorer")
    await person("docs", None, "A GraphQL schema provides a root type")
    # The icon is empty and stands in the page. The last is the schema.
    assert await person("requests") == [
        "GET /graphql",
        "GET /graphiql/graphiql.css",
        "GET /graphiql/graphiql.js",
        "POST /graphql",
    ]
    assert await person("complaints") == []


async def test_a_person_sees_the_balance_that_their_key_may_read(
    person: Person, organization: str, key: str
) -> None:
    await person.signs_in(key)
    await person.runs("Mine", balance("Mine", organization))
    seen = await person.sees("available")
    assert seen["data"] == {"creditBalance": {"available": "10", "reserved": "0", "version": 2}}


async def test_the_docs_tell_what_the_schema_describes(person: Person) -> None:
    await person("click", "Show Documentation Explorer")
    await person("docs", "Query", "What can be asked.")
    await person("docs", "CreditBalance", "The credits of an organization")


async def test_a_subscription_shows_each_change_until_it_is_stopped(
    person: Person, server: LiveServer, organization: str, key: str, tmp_path: Path
) -> None:
    account = UUID(organization)
    await person.signs_in(key)
    await person.runs(
        "Live",
        f'subscription Live {{ creditBalanceUpdated(organizationId: "{organization}")'
        " { available reserved version } }",
    )
    snapshot = {"available": "10", "reserved": "0", "version": 2}
    assert await person.sees("version") == {"data": {"creditBalanceUpdated": snapshot}}
    await server.watched(account)

    reserved = await server.do("reserveCredits", account, amount="4")
    held = {"available": "6", "reserved": "4", "version": 3}
    assert await person.sees('"version": 3') == {"data": {"creditBalanceUpdated": held}}
    await server.do(
        "settleCredits", account, reservationId=reserved["reservation"]["id"], amount="2.5"
    )
    settled = {"available": "7.5", "reserved": "0", "version": 4}
    assert await person.sees('"version": 4') == {"data": {"creditBalanceUpdated": settled}}

    await person("click", "Stop query (Ctrl-Enter)")
    await until(lambda: not server.feed._watches, "the end of the subscription")
    assert await person.sees("version") == {"data": {"creditBalanceUpdated": settled}}
    assert (await person("requests"))[-1] == "WEBSOCKET /graphql"
    await person("picture", str(tmp_path / "graphiql.png"))


async def test_a_refusal_is_shown_with_its_code_and_facts(
    person: Person, organization: str
) -> None:
    await person.signs_in(ADMIN_KEY)
    await person.runs(
        "TooMuch",
        f'mutation TooMuch {{ reserveCredits(input: {{organizationId: "{organization}",'
        ' amount: "11", idempotencyKey: "too-much"}) { __typename ... on Refusal { code }'
        " ... on InsufficientCredits { required spendable } } }",
    )
    seen = await person.sees("code")
    assert seen["data"] == {
        "reserveCredits": {
            "__typename": "InsufficientCredits",
            "code": "INSUFFICIENT_CREDITS",
            "required": "11",
            "spendable": "10",
        }
    }


async def test_a_wrong_key_is_told_what_to_send(person: Person, organization: str) -> None:
    await person.signs_in("exq_o_nobody")
    await person.runs("Mine", balance("Mine", organization))
    [error] = (await person.sees("errors"))["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    assert error["message"] == NOT_SIGNED_IN
    # The browser writes every 401 to its console, whatever the page makes of it.
    failed = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
    person.expected = ["answered 401: /graphql", f"console: {failed}"]


async def test_a_subscription_with_a_wrong_key_tells_why_it_ended(
    person: Person, server: LiveServer, organization: str
) -> None:
    await person.signs_in("exq_o_nobody")
    await person.runs(
        "Live",
        f'subscription Live {{ creditBalanceUpdated(organizationId: "{organization}")'
        " { version } }",
    )
    [error] = (await person.sees("errors"))["errors"]
    assert (
        error["message"] == "The subscription's socket was closed: 4403 Forbidden: " + NOT_SIGNED_IN
    )
    assert server.feed._watches == {}


async def test_the_keyboard_is_enough_to_type_run_and_leave_an_editor(
    person: Person, organization: str, key: str
) -> None:
    await person.signs_in(key)
    await person("paste", "Query editor", "# nothing yet\n")
    # The editor closes each bracket and quotation mark by itself, and takes ours for its own.
    await person("type", balance("Typed", organization))
    await person("titled", "Typed")
    await person("press", "Control+Enter")
    shown = await person.sees("available")
    assert shown["data"]["creditBalance"]["available"] == "10"
    await person("press", "Escape")
    await person("press", "Tab")
    assert await person("focused") == "Execute query (Ctrl-Enter)"
