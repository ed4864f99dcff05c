"""GraphQL over HTTP, as npm's graphql-http audits any server."""

import asyncio
import json
from asyncio.subprocess import PIPE

from tests.support.api import Api
from tests.support.node import CLIENTS, need

AUDITS = 61
LIMIT_SECONDS = 60

# What the specification leaves open, a query by GET without a header of its own. A server
# that asks for such a header, so that no other site's page can make a browser send the
# query, refuses all three; one that does not, none. Nothing else may be noticed.
REFUSED_WITHOUT_A_HEADER = {
    "5A70",  # a query by GET
    "D6D5",  # with variables, accepting application/graphql-response+json
    "6A70",  # with variables, accepting application/json
}


async def test_every_audit_of_graphql_http_passes(site: Api) -> None:
    need("graphql-http")
    process = await asyncio.create_subprocess_exec(
        "node", "audit.mjs", f"{site.url}/graphql", stdout=PIPE, stderr=PIPE, cwd=CLIENTS
    )
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    results = json.loads(out)
    assert len({result["id"] for result in results}) == len(results) == AUDITS
    failed = {
        result["id"]: f"{result['status']}: {result['name']}: {result['reason']}"
        for result in results
        if result["status"] != "ok"
    }
    assert [told for told in failed.values() if not told.startswith("notice: ")] == []
    assert failed.keys() in (set(), REFUSED_WITHOUT_A_HEADER), failed
