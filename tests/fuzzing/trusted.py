"""Kinds of requests that name a document by its digest, or ask by GET what a page could."""

import json
from hashlib import sha256
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

from tests.fuzzing import documents, values, world
from tests.fuzzing.script import Maker, ReadStream, Script, Send, written

DIGESTS = {name: sha256(text.encode()).hexdigest() for name, text in documents.DOCUMENTS.items()}
_PREFLIGHTED = (
    "Authorization",
    "GraphQL-Require-Preflight",
    "Apollo-Require-Preflight",
    "X-Apollo-Operation-Name",
)
_UNNAMED = frozenset({"BAD_REQUEST", "PERSISTED_QUERY_NOT_FOUND"})
_ADMIN = {"Authorization": f"Bearer {world.ADMIN_KEY}"}


def naming(rng: Random, digest: object) -> dict[str, Any]:
    """Return the members that name a document, in one of the ways there are."""
    persisted = {"version": 1, "sha256Hash": digest}
    return rng.choice(
        [
            {"documentId": digest},
            {"extensions": {"persistedQuery": persisted}},
            {"documentId": digest, "extensions": {"persistedQuery": persisted}},
        ]
    )


def mistyped(rng: Random, digest: str) -> object:
    """Return what is nearly a digest, or not at all."""
    cut = rng.randint(0, 63)
    return rng.choice(
        [
            digest[:cut],
            digest + "0",
            digest[:cut] + "g" + digest[cut + 1 :],
            f"sha1:{digest}",
            f" {digest}",
            rng.randbytes(32).hex(),
            values.text(rng),
            values.scalar(rng),
            [digest],
            {digest: digest},
        ]
    )


def named_document(make: Maker) -> Script:
    """Name a document of the contract, with variables that are nearly right."""
    rng = make.rng
    name = rng.choice(documents.OPERATIONS)
    digest = rng.choice([DIGESTS[name], DIGESTS[name].upper(), f"sha256:{DIGESTS[name]}"])
    body = naming(rng, digest) | {"variables": documents.variables(rng, name)}
    if rng.random() < 0.2:
        body["operationName"] = rng.choice([name, name.title(), values.text(rng), None])
    return make.asked(written(body))


def unknown_digest(make: Maker) -> Script:
    """Name a document that there is not, without a text."""
    body = naming(make.rng, make.rng.randbytes(32).hex())
    if make.rng.random() < 0.3:
        body["query"] = make.rng.choice(["", None])
    asked = make.asked(written(body), headers=_ADMIN)
    return Script(asked.steps, statuses=frozenset({400}), codes=_UNNAMED)


def bad_digest(make: Maker) -> Script:
    """Name a document by what is no digest, with a text at times."""
    rng = make.rng
    name = rng.choice(list(DIGESTS))
    body = naming(rng, mistyped(rng, DIGESTS[name]))
    if rng.random() < 0.5:
        body["query"] = rng.choice(
            [documents.DOCUMENTS[name], "{ __typename }", documents.soup(rng)]
        )
    if rng.random() < 0.3:
        body["extensions"] = rng.choice(
            [
                {"persistedQuery": values.value(rng)},
                {"persistedQuery": {"version": values.value(rng)}},
                {"persistedQuery": {"sha256Hash": values.value(rng)}},
                values.value(rng),
            ]
        )
    return make.asked(written(body))


def other_digest(make: Maker) -> Script:
    """Send a text with the digest of another one, that is trusted or is not."""
    rng = make.rng
    text = rng.choice([documents.soup, documents.bent, documents.grown])(rng)
    digest = rng.choice(
        [
            rng.choice(list(DIGESTS.values())),
            sha256(b"another").hexdigest(),
            sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        ]
    )
    return make.asked(written(naming(rng, digest) | {"query": text}))


def simple_get(make: Maker) -> Script:
    """Ask by GET as a page of another site could: without a header that it cannot send."""
    rng = make.rng
    headers: dict[str, str | None] = dict.fromkeys(_PREFLIGHTED)
    headers |= {"Origin": "https://evil.example", "Cookie": "a=b"} if rng.random() < 0.5 else {}
    asked = make.asked(None, method="GET", target=_target(rng), headers=headers)
    return Script(asked.steps, statuses=frozenset({400}), codes=frozenset({"BAD_REQUEST"}))


def preflighted_get(make: Maker) -> Script:
    """Ask by GET, with such a header: for queries, mutations, subscriptions, and badly."""
    rng = make.rng
    headers: dict[str, str | None] = dict.fromkeys(_PREFLIGHTED)
    headers[rng.choice(_PREFLIGHTED[1:])] = rng.choice(["1", "", "x"])
    if rng.random() < 0.7:
        headers |= _ADMIN
    if rng.random() < 0.2:
        headers["Accept"] = "text/event-stream"
        request = make.request(None, method="GET", target=_target(rng, ended=True), headers=headers)
        return Script((Send(request), ReadStream()), fresh=True)
    return make.asked(None, method="GET", target=_target(rng), headers=headers)


def _target(rng: Random, *, ended: bool = False) -> str:
    """Return a URL that asks; `ended`: for what ends by itself."""
    name = rng.choice(documents.OPERATIONS if ended else list(DIGESTS))
    digest = DIGESTS[name] if rng.random() < 0.7 else str(mistyped(rng, DIGESTS[name]))
    given = json.dumps(documents.variables(rng, name))
    if rng.random() < 0.1:
        given = values.mangled(rng, given.encode()).decode("latin-1")
    asked = rng.choice(
        [
            {"documentId": digest},
            {"query": documents.DOCUMENTS[name]},
            {"extensions": json.dumps({"persistedQuery": {"sha256Hash": digest}})},
            {"extensions": json.dumps(values.value(rng))},
            {"documentId": digest, "query": "{ __typename }"},
        ]
    )
    text = urlencode(asked | {"variables": given}, errors="replace", quote_via=quote)
    return f"/graphql?{text}"[:60_000]


def dear_document(make: Maker) -> Script:
    """Ask for more objects than a document may, by page sizes, here or in variables."""
    rng = make.rng
    size = rng.choice([100, 99, 101, 1_000_000, 2**31 - 1, -5, "$n"])
    balance = "creditBalance { available version }"
    fields = [
        f"a{number}: organizations(first: {size}) {{ nodes {{ id {balance} }} totalCount }}"
        for number in range(rng.choice([5, 15, 20]))
    ]
    given = {"n": rng.choice([100, 100, 10**9, -1, None, "100", True, 2**63])}
    return make.graphql(
        f"query ($n: Int{rng.choice(['!', ' = 100', '! = 100'])}) {{ {' '.join(fields)} }}", given
    )


def events_named(make: Maker) -> Script:
    """Ask for events by a digest that is good or bad, or with a document that is no good."""
    rng = make.rng
    name = rng.choice(documents.OPERATIONS)
    query = rng.choice([documents.soup, documents.bent, documents.deep, documents.aliases])(rng)
    body = rng.choice(
        [
            naming(rng, DIGESTS[name]) | {"variables": documents.variables(rng, name)},
            naming(rng, mistyped(rng, DIGESTS[name])),
            naming(rng, mistyped(rng, DIGESTS[name])) | {"query": "{ __typename }"},
            {"query": query} if "subscription" not in query else {},
            {"query": "{ __typename }", "operationName": values.text(rng)},
        ]
    )
    accepted = rng.choice(["text/event-stream", "text/event-stream, application/json;q=0.1"])
    request = make.request(written(body), headers={"Accept": accepted})
    return Script((Send(request), ReadStream()), fresh=True)
