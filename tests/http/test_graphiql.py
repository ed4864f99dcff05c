"""GraphiQL and introspection: there for developers, not in production."""

import re

import pytest

from tests.support.api import Api

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'self'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def policy(header: str) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in header.split(";"))
    return {name: value for name, _, value in parts}


async def test_a_browser_gets_the_page_and_the_page_gets_its_assets(site: Api) -> None:
    page = await site.http.get("/graphql", headers=BROWSER)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert policy(page.headers["content-security-policy"]) == POLICY
    [base] = re.findall(r'<base href="([^"]+)">', page.text)
    assert base == "/graphiql/"
    named = re.findall(r'(?:src|href)="((?!/|data:)[^"]+)"', page.text)
    assert named == ["graphiql.css", "graphiql.js"]
    for name in named:
        asset = await site.http.get(base + name)
        assert asset.status_code == 200, name
        assert policy(asset.headers["content-security-policy"]) == POLICY
        assert asset.headers["cache-control"] == "no-cache"
        assert asset.headers["x-content-type-options"] == "nosniff"
        again = await site.http.get(base + name, headers={"if-none-match": asset.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["cache-control"] == "no-cache"


async def test_the_page_holds_no_script_or_style_that_its_policy_forbids(site: Api) -> None:
    page = (await site.http.get("/graphql", headers=BROWSER)).text
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page) == []
    assert re.findall(r"<style|\bstyle=|\bon\w+=|javascript:", page) == []
    assert re.findall(r"https?://", page) == []


async def test_the_file_of_the_page_is_under_the_same_policy(site: Api) -> None:
    page = await site.http.get("/graphiql/index.html", headers=BROWSER)
    assert policy(page.headers["content-security-policy"]) == POLICY


async def test_a_query_in_the_address_is_answered_instead_of_the_page(site: Api) -> None:
    headers = BROWSER | {"graphql-require-preflight": "1"}
    response = await site.http.get("/graphql", params={"query": "{ __typename }"}, headers=headers)
    assert response.json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize(
    "path",
    [
        "/graphiql/nothing.js",
        "/graphiql/",
        "/graphiql/../main.py",
        "/graphiql/..%2fmain.py",
        "/graphiql/%2e%2e/%2e%2e/main.py",
        "/graphiql//etc/passwd",
        "/graphiql/graphiql.js%00",
        "/graphiql/" + "x" * 5_000,
    ],
)
async def test_nothing_else_is_served_beside_the_page(path: str, site: Api) -> None:
    response = await site.http.get(path)
    assert response.status_code == 404
    [error] = response.json()["errors"]
    assert error["extensions"]["code"] == "NOT_FOUND"


async def test_production_serves_no_page(production: Api) -> None:
    response = await production.http.get("/graphql", headers=BROWSER)
    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    for name in ("index.html", "graphiql.js", "graphiql.css"):
        assert (await production.http.get(f"/graphiql/{name}")).status_code == 404


INTROSPECTION = [
    "{ __schema { types { name } } }",
    '{ __type(name: "Query") { name } }',
    "{ a: __schema { queryType { name } } }",
    "{ ...f } fragment f on Query { __schema { types { name } } }",
    "{ ... { ... { __schema { types { name } } } } }",
    "mutation { __schema { types { name } } }",
]


@pytest.mark.parametrize("query", INTROSPECTION)
async def test_production_does_not_tell_its_schema(query: str, production: Api) -> None:
    answered = await production.send(query)
    assert {error["extensions"]["code"] for error in answered.body["errors"]} == {"GRAPHQL_INVALID"}
    assert "data" not in answered.body


@pytest.mark.parametrize("query", INTROSPECTION[:-1])
async def test_a_developer_is_told_the_schema(query: str, site: Api) -> None:
    assert (await site.send(query)).code == "OK"


async def test_a_name_of_a_type_is_no_secret(production: Api) -> None:
    assert (await production.send("{ __typename }")).data == {"__typename": "Query"}


MISSPELT = [
    "{ projectz { nodes { id } } }",
    "{ projects(frist: 1) { nodes { id } } }",
    "query ($a: CreditTransactionFiltr) { __typename }",
    "{ projects { nodes { ... on Projecte { id } } } }",
    '{ creditGrants(organizationId: "x", states: [LIVED]) { nodes { id } } }',
]


@pytest.mark.parametrize("query", MISSPELT)
async def test_suggestions_are_made_to_developers_alone(
    query: str, site: Api, production: Api
) -> None:
    told = str((await site.send(query)).body)
    assert "Did you mean" in told
    assert "Did you mean" not in str((await production.send(query)).body)
