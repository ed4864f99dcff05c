"""Kinds of requests whose HTTP is right and whose body is not."""

import json

from tests.fuzzing import documents, values, world
from tests.fuzzing.script import Maker, Script, written

_NAMES = ("query", "variables", "operationName", "extensions", "x")


def good(make: Maker) -> Script:
    """Send what is answered."""
    operation = make.rng.choice(["creditBalance", "creditTransactions", "organization"])
    given = {"organizationId": world.ORGANIZATION, "id": world.ORGANIZATION}
    return make.graphql(documents.DOCUMENTS[operation], given)


def any_body(make: Maker) -> Script:
    """Send bytes, or JSON of any shape."""
    if make.rng.random() < 0.5:
        return make.asked(make.rng.randbytes(make.rng.randint(0, 200)))
    return make.asked(written(values.value(make.rng)))


def broken_json(make: Maker) -> Script:
    """Send a good body, mangled."""
    body = written({"query": make.rng.choice(list(documents.DOCUMENTS.values())), "variables": {}})
    return make.asked(values.mangled(make.rng, body))


def wrong_shape(make: Maker) -> Script:
    """Send members of the wrong type, or none, or twice."""
    rng = make.rng
    members = [
        f"{json.dumps(name)}: {json.dumps(values.value(rng))}"
        for name in rng.choices(_NAMES, k=rng.randint(0, 5))
    ]
    if rng.random() < 0.6:
        members.insert(0, f'"query": {json.dumps(rng.choice(["{ __typename }", "", " "]))}')
    return make.asked(("{" + ", ".join(members) + "}").encode())


def bad_utf8(make: Maker) -> Script:
    """Send bytes that are no text, where a text is due."""
    rng = make.rng
    bad = rng.choice(
        [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80"]
    )
    return make.asked(
        rng.choice(
            [
                b'{"query": "{ __typename %s }"}' % bad,
                b'{"query": "{ __typename }", "operationName": "%s"}' % bad,
                b'{"query": "{ __typename }", "variables": {"%s": 1}}' % bad,
                b"%s{}" % bad,
                b"\xef\xbb\xbf" + b'{"query": "{ __typename }"}',
                '{"query": "{ __typename }"}'.encode(rng.choice(["utf-16", "utf-16-le", "utf-32"])),
            ]
        )
    )


def lone_surrogates(make: Maker) -> Script:
    """Send halves of characters."""
    half = make.rng.choice(["\ud800", "\udc00", "\udfff\ud800", "a\ud83d"])
    return _odd_text(make, half)


def nuls(make: Maker) -> Script:
    """Send the character that Postgres cannot store."""
    if make.rng.random() < 0.2:
        return make.asked(b'{"query": "{ __typename \x00}"}')
    return _odd_text(make, make.rng.choice(["\x00", "a\x00b", "\x00" * 300]))


def _odd_text(make: Maker, odd: str) -> Script:
    rng = make.rng
    request = rng.choice(
        [
            {"query": "{ __typename }" + odd},
            {"query": f'{{ a(b: "{odd}") }}'},
            {"query": f"# {odd}\n{{ __typename }}"},
            {"query": "{ __typename }", "operationName": odd},
            {"query": "{ __typename }", "variables": {odd: odd}},
        ]
    )
    if rng.random() < 0.6:
        operation = rng.choice(documents.OPERATIONS)
        given = documents.variables(rng, operation)
        inner = given.get("input") if isinstance(given.get("input"), dict) else given
        if isinstance(inner, dict) and inner:
            inner[rng.choice(list(inner))] = rng.choice([odd, {odd: odd}])
        request = {"query": documents.DOCUMENTS[operation], "variables": given}
    return make.asked(written(request))


def huge_numbers(make: Maker) -> Script:
    """Send numbers that no machine has room for."""
    rng = make.rng
    number = rng.choice(values.NUMBERS)
    first = "query ($n: Int!) { organizations(first: $n) { nodes { id } } }"
    grant = documents.DOCUMENTS["grantCredits"]
    who = f'"organizationId": "{world.ORGANIZATION}", "idempotencyKey": "n", "amount": '
    return make.asked(
        rng.choice(
            [
                f'{{"query": {json.dumps(first)}, "variables": {{"n": {number}}}}}',
                f'{{"query": {json.dumps(grant)}, "variables": {{"input": {{{who}{number}}}}}}}',
                f'{{"query": "{{ organizations(first: {number}) {{ totalCount }} }}"}}',
                f'{{"query": "{{ a(b: {number}) }}", "extensions": {{"a": {number}}}}}',
                f'{{"query": {number}}}',
                number,
            ]
        ).encode()
    )


def deep_json(make: Maker) -> Script:
    """Send nesting that trips who recurses."""
    rng = make.rng
    nest = values.nested(rng, rng.choice([10, 64, 65, 250, 1_000, 1_100, 20_000]))
    adjust = json.dumps(documents.DOCUMENTS["adjustCredits"])
    who = f'"organizationId": "{world.ORGANIZATION}", "reason": "r", "amount": "1"'
    metadata = f'{{"input": {{{who}, "idempotencyKey": "d{make.index}", "metadata": {nest}}}}}'
    return make.asked(
        rng.choice(
            [
                nest,
                f'{{"query": {nest}}}',
                f'{{"query": "{{ __typename }}", "variables": {{"a": {nest}}}}}',
                f'{{"query": "{{ __typename }}", "extensions": {{"a": {nest}}}}}',
                f'{{"query": {adjust}, "variables": {metadata}}}',
            ]
        ).encode()
    )


def wide_json(make: Maker) -> Script:
    """Send many members."""
    n = make.rng.choice([100, 2_000, 8_000])
    wide = {f"k{i}": i for i in range(n)}
    given = {"organizationId": world.ORGANIZATION, "amount": "1", "idempotencyKey": "w"}
    return make.asked(
        written(
            make.rng.choice(
                [
                    {"query": "{ __typename }", **wide},
                    {"query": "{ __typename }", "variables": wide},
                    {
                        "query": documents.DOCUMENTS["adjustCredits"],
                        "variables": {"input": {**given, "reason": "r", "metadata": wide}},
                    },
                    {
                        "query": documents.DOCUMENTS["reserveCredits"],
                        "variables": {"input": given | wide},
                    },
                    [wide],
                ]
            )
        )
    )


def deep_document(make: Maker) -> Script:
    return make.graphql(documents.deep(make.rng))


def wide_document(make: Maker) -> Script:
    return make.graphql(documents.wide(make.rng))


def alias_bomb(make: Maker) -> Script:
    return make.graphql(documents.aliases(make.rng))


def fragment_bomb(make: Maker) -> Script:
    return make.graphql(documents.fragments(make.rng, circular=False))


def circular_fragments(make: Maker) -> Script:
    return make.graphql(documents.fragments(make.rng, circular=True))


def token_soup(make: Maker) -> Script:
    return make.graphql(documents.soup(make.rng))


def bent_document(make: Maker) -> Script:
    given = {name: values.value(make.rng) for name in ("organizationId", "input", "id")}
    return make.graphql(documents.bent(make.rng), given)


def grown_document(make: Maker) -> Script:
    root = make.rng.choice(["Query", "Query", "Mutation", "Subscription"])
    return make.graphql(documents.grown(make.rng, root))


def mutated_variables(make: Maker) -> Script:
    """Send documents of the contract with variables that are nearly right."""
    operation = make.rng.choice(documents.OPERATIONS)
    return make.graphql(documents.DOCUMENTS[operation], documents.variables(make.rng, operation))


def any_request(make: Maker) -> Script:
    """Send members of any value, the document right or not."""
    rng = make.rng
    parts = {
        "query": rng.choice([rng.choice(list(documents.DOCUMENTS.values())), values.value(rng)]),
        "variables": rng.choice([{"input": values.value(rng)}, values.value(rng)]),
        "operationName": rng.choice([values.text(rng), values.value(rng)]),
        "extensions": values.value(rng),
    }
    kept = {name: part for name, part in parts.items() if rng.random() < 0.7}
    accept = rng.choice(["application/json", "application/graphql-response+json", "*/*;q=0.1"])
    return make.asked(written(kept), headers={"Accept": accept})
