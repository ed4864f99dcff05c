"""Limits of a document: depth, aliases, root fields, tokens, work; however it is spelt."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import Servers
from tests.support.api import Api, serving, settings_for
from tests.support.callers import Caller

TOO_COMPLEX = "QUERY_TOO_COMPLEX"


@pytest.fixture(scope="module")
async def strict(servers: Servers, database_name: str) -> AsyncIterator[Api]:
    """A server with limits that a valid document of this schema can reach."""
    settings = settings_for(
        servers.app_url(database_name),
        servers.redis,
        graphql_depth=3,
        graphql_aliases=2,
        graphql_root_fields=2,
        graphql_tokens=100,
    )
    async with serving(settings) as served:
        yield served


async def codes(api: Api, query: str, caller: Caller = Caller.ADMIN) -> set[str]:
    """Return the codes of all errors of an answer."""
    answered = await api.send(query, caller=caller)
    assert answered.status == 200
    return {error["extensions"]["code"] for error in answered.body.get("errors", ())}


# Each is at its limit; one more is too much.
DEPTHS = {
    "plain": "{ organizations { edges { cursor } } }",
    "inline": "{ ... { organizations { ... { edges { ... on OrganizationEdge { cursor } } } } } }",
    "fragments": "{ ...a } fragment a on Query { organizations { ...b } }"
    " fragment b on OrganizationConnection { edges { cursor } }",
}
TOO_DEEP = {
    "plain": "{ organizations { edges { node { id } } } }",
    "inline": "{ ... { organizations { ... { edges { ... { node { ... { id } } } } } } } }",
    "fragments": "{ ...a } fragment a on Query { organizations { ...b } }"
    " fragment b on OrganizationConnection { edges { ...c } }"
    " fragment c on OrganizationEdge { node { id } }",
    "second operation": "query A { __typename } query B { projects { edges { node { id } } } }",
    "skipped": "{ projects @skip(if: true) { edges { node { id } } } }",
}


@pytest.mark.parametrize("how", DEPTHS)
async def test_a_document_as_deep_as_the_limit_runs(how: str, strict: Api) -> None:
    assert await codes(strict, DEPTHS[how]) == set()


@pytest.mark.parametrize("how", TOO_DEEP)
async def test_a_deeper_document_is_refused(how: str, strict: Api) -> None:
    response = await strict.http.post(
        "/graphql",
        json={"query": TOO_DEEP[how], "operationName": "A" if "query A" in TOO_DEEP[how] else None},
        headers=strict.headers(),
    )
    [error] = response.json()["errors"]
    assert error["message"] == "The document has more than 3 levels."
    assert error["extensions"] == {
        "code": TOO_COMPLEX,
        "limit": 3,
        "requestId": response.headers["x-request-id"],
    }


@pytest.mark.parametrize(
    "query",
    [
        "{ a: __typename b: __typename }",
        "{ ...f } fragment f on Query { a: __typename b: __typename }",
        "{ a: projects { b: nodes { id } } }",
    ],
)
async def test_as_many_aliases_as_the_limit_run(query: str, strict: Api) -> None:
    assert await codes(strict, query) == set()


@pytest.mark.parametrize(
    "query",
    [
        "{ a: projects { b: nodes { c: id } } }",
        "{ ...f ...f } fragment f on Query { projects { a: pageInfo { b: hasNextPage } } }",
        "{ ... { a: projects { ... { b: nodes { ... { c: id } } } } } }",
    ],
)
async def test_more_aliases_are_refused_also_where_a_fragment_is_spread_twice(
    query: str, strict: Api
) -> None:
    assert await codes(strict, query) == {TOO_COMPLEX}


@pytest.mark.parametrize(
    "query",
    [
        "{ __typename projects { nodes { id } } organizations { nodes { id } } }",
        "{ __typename __typename __typename }",
        "{ ...f ... { __typename } } fragment f on Query { __typename __typename }",
        "{ ...f ...f ...f } fragment f on Query { __typename }",
    ],
)
async def test_more_root_fields_are_refused(query: str, strict: Api) -> None:
    assert await codes(strict, query) == {TOO_COMPLEX}


async def test_mutations_count_as_root_fields(strict: Api) -> None:
    fields = " ".join(
        f'createProject(input: {{slug: "s{n}", name: "x", idempotencyKey: "k{n}"}})'
        " { __typename }"
        for n in range(3)
    )
    # One name for three: they would not merge either.
    assert TOO_COMPLEX in await codes(strict, f"mutation {{ {fields} }}")
    page = await strict.send("{ projects { nodes { slug } } }")
    assert page.result == {"nodes": []}


async def test_tokens_are_counted_before_anything_is_read(strict: Api) -> None:
    # 16 tokens, comments not counted, and as many numbers as are left.
    query = "{ projects(first: [# comment\n%s]) { nodes { id } } }"
    assert await codes(strict, query % ("1 " * 84)) == {"GRAPHQL_INVALID"}
    answered = await strict.send(query % ("1 " * 85))
    [error] = answered.body["errors"]
    assert error["extensions"]["code"] == TOO_COMPLEX
    assert "100 tokens" in error["message"]


async def test_limits_hold_over_server_sent_events(strict: Api) -> None:
    response = await strict.http.post(
        "/graphql",
        json={"query": TOO_DEEP["fragments"]},
        headers=strict.headers(accept="text/event-stream"),
    )
    assert '"code":"QUERY_TOO_COMPLEX"' in response.text
    assert '"data"' not in response.text


def circle(links: int, *, spreads: int, end: str) -> str:
    """Return a document of fragments that each spread the next one several times."""
    chain = " ".join(
        f"fragment f{n} on Query {{ {f'...f{n + 1} ' * spreads}}}" for n in range(links)
    )
    return f"{{ ...f0 }} {chain} fragment f{links} on Query {{ {end} }}"


# Each would take for ever, or seconds, were it walked to its end; none takes long enough
# for the time-out of this client.
BOMBS = {
    "doubling circle": circle(100, spreads=2, end="...f0"),
    "doubling without end": circle(100, spreads=2, end="__typename"),
    "tripling circle": circle(90, spreads=3, end="...f0"),
    "same field 1900 times": "{" + "__typename " * 1_900 + "}",
    "same leaf 1900 times": "{ projects { nodes {" + "id " * 1_900 + "} } }",
    "same object 480 times": "{ projects {" + "nodes { id } " * 480 + "} }",
    "same edges 280 times": "{ projects {" + "edges { node { id } } " * 280 + "} }",
    # Each operation spreads it anew, and no operation is too much by itself.
    "in many operations": " ".join(f"query q{n} {{ ...f0 }}" for n in range(150))
    + circle(12, spreads=2, end="__typename").removeprefix("{ ...f0 }"),
    "65,537 characters": "{ projects { nodes { id } } }".ljust(65_537, ","),
    "nested selections": "{" + "a {" * 600 + "b" + "}" * 601,
    "nested inline fragments": "{" + "... {" * 490 + "__typename" + "}" * 491,
    "nested lists": "{ a(b: " + "[" * 900 + "]" * 900 + ") }",
    "nested objects": "{ a(b: " + "{c: " * 450 + "1" + "}" * 450 + ") }",
    "nested types": "query (" + "$a: " + "[" * 900 + "Int" + "]" * 900 + ") { __typename }",
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_document_made_to_cost_is_refused_to_anybody(bomb: str, site: Api) -> None:
    assert TOO_COMPLEX in await codes(site, BOMBS[bomb], Caller.ANONYMOUS)


async def test_what_many_operations_spread_is_counted_in_all_of_them_together(site: Api) -> None:
    answered = await site.send(BOMBS["in many operations"], caller=Caller.ANONYMOUS)
    told = [error["message"] for error in answered.body["errors"]]
    assert told.count("The document has more than 5000 selections, fragments expanded.") == 1


async def test_a_document_as_long_as_the_limit_is_read(site: Api) -> None:
    query = "{ projects { nodes { id } } }"
    assert (await site.send(query.ljust(65_536, ","))).body.get("errors") is None
    [error] = (await site.send(query.ljust(65_537, ","))).body["errors"]
    assert error["message"] == "The document has more than 65536 characters."


@pytest.mark.parametrize(
    ("fragments", "message"),
    [
        ("fragment a on Query { ...a ...a ...a }", "Cannot spread fragment 'a' within itself."),
        (
            "fragment a on Query { ...b } fragment b on Query { ...a }",
            "Cannot spread fragment 'a' within itself via 'b'.",
        ),
    ],
)
async def test_a_small_circle_of_fragments_is_an_error_of_its_own(
    fragments: str, message: str, site: Api
) -> None:
    answered = await site.send(f"{{ ...a }} {fragments}")
    assert message in [error["message"] for error in answered.body["errors"]]
    assert await codes(site, f"{{ ...a }} {fragments}") == {"GRAPHQL_INVALID"}


INVALID: dict[str, Any] = {
    "480 unused variables": "query (" + " ".join(f"$a{n}: Int" for n in range(480)) + ") { id }",
    "600 unknown fields": "{" + " ".join(f"creditBalanc{n}" for n in range(600)) + "}",
    "900 unknown fragments": "{" + " ".join(f"...f{n}" for n in range(900)) + "}",
    # Each error prints the whole value.
    "600 unknown members": "mutation { reserveCredits(input: {"
    + " ".join(f"organizationI{n}: 1" for n in range(600))
    + "}) { __typename } }",
    # Each error counts the lines before it.
    "400 long unknown fields": "{" + " ".join("a" * 150 + str(n) for n in range(400)) + "}",
}


@pytest.mark.parametrize("what", INVALID)
async def test_a_document_with_hundreds_of_errors_is_told_the_first_ones(
    what: str, site: Api
) -> None:
    answered = await site.send(INVALID[what], caller=Caller.ANONYMOUS)
    assert len(answered.body["errors"]) == 6
    assert "error limit reached" in answered.body["errors"][-1]["message"]
    codes = {error["extensions"]["code"] for error in answered.body["errors"]}
    assert codes <= {"GRAPHQL_INVALID", TOO_COMPLEX}
