"""Kinds of requests whose HTTP is strange, broken or late."""

from urllib.parse import quote, quote_from_bytes

from tests.fuzzing import documents, values, world
from tests.fuzzing.script import (
    HalfClose,
    Maker,
    Pause,
    Read,
    ReadEnd,
    Reset,
    Script,
    Send,
    Step,
    written,
)

_GOOD = written({"query": "{ __typename }"})
_LIMIT = 262_144
_CHUNKED = {"Content-Length": None, "Transfer-Encoding": "chunked"}
_REFUSED = frozenset({"BAD_REQUEST", "UNAUTHENTICATED", "NOT_ACCEPTABLE"})


def content_type(make: Maker) -> Script:
    """Say that the body is something else."""
    kinds = [
        None,
        "",
        "text/plain",
        "application/jsonx",
        "APPLICATION/JSON ; charset=utf-7",
        "application/graphql",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/json, text/plain",
        "application/json;" + "a=b;" * 500,
        _header(make),
    ]
    return make.asked(_GOOD, headers={"Content-Type": make.rng.choice(kinds)})


def accept(make: Maker) -> Script:
    """Ask for an answer of another kind."""
    rng = make.rng
    parts = [
        "*/*",
        "text/html",
        "application/json;q=0",
        "application/graphql-response+json",
        "application/*;q=0.5",
        "*/*;q=9",
        "application/json;q=NaN",
        "application/json;q=1e400",
        ";;;",
        "image/png",
        _header(make),
    ]
    chosen = ",".join(rng.choices(parts, k=rng.choice([1, 2, 5, 300])))
    return make.asked(_GOOD, headers={"Accept": chosen})


def method(make: Maker) -> Script:
    """Use another method."""
    methods = ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET", "PROPFIND", "QUERY"]
    chosen = make.rng.choice([*methods, "get", "FOO"])
    request = make.request(make.rng.choice([None, _GOOD]), method=chosen)
    if chosen in {"QUERY", "get", "FOO"}:
        # What the HTTP library does not know, it refuses itself, and hangs up.
        return Script((Send(request), HalfClose(), ReadEnd()), fresh=True, plain=True)
    return Script((Send(request), Read(bodiless=chosen == "HEAD")))


def path(make: Maker) -> Script:
    """Ask elsewhere; the query string is anything."""
    rng = make.rng
    places = ["/", "/graphql/", "//graphql", "/graphql/x", "/GRAPHQL", "/health/live", "/graphiql/"]
    places += ["/%00", "/../etc/passwd", "/graphiql/../../main.py", "/graphiql/%2e%2e/x", "*", "/é"]
    places += ["/" + "a" * 5_000, "http://elsewhere/graphql", "/graphql;x", "/graphiql/%00"]
    target = rng.choice(places) + rng.choice(["", "?", "?query=%00", "#x"])
    request = make.request(None, method=rng.choice(["GET", "GET", "POST"]), target=target)
    # A target that is none is refused by the HTTP library.
    return Script((Send(request), HalfClose(), ReadEnd()), fresh=True, plain=True)


def query_string(make: Maker) -> Script:
    """Ask with GET."""
    rng = make.rng
    texts = [values.text(rng).encode("utf-8", "surrogatepass") for _ in range(4)]
    names = rng.choices(["query", "variables", "operationName", "extensions", "x"], k=3)
    pairs = [
        f"{name}={quote_from_bytes(text)}" for name, text in zip(names, texts, strict=False)
    ] + rng.choice([[], ["query=%7B__typename%7D"], ["query=%FF%FE"], ["&&=&%zz"]])
    if rng.random() < 0.3:
        document = rng.choice([documents.soup, documents.bent])(rng)
        pairs = [f"query={quote(document, errors='replace')}"]
    target = "/graphql?" + "&".join(pairs)
    return make.asked(None, method="GET", target=target[:60_000])


def query_parameters(make: Maker) -> Script:
    """Ask with GET, the parameters well written and their values any text."""
    rng = make.rng
    names = [n for n in ("query", "variables", "operationName", "x") if rng.random() < 0.6]
    pairs = "&".join(f"{n}={quote(values.text(rng), errors='replace')}" for n in names)
    key = {"Authorization": f"Bearer {world.ADMIN_KEY}"}
    asked = make.asked(None, method="GET", target=f"/graphql?{pairs}", headers=key)
    return Script(
        asked.steps,
        statuses=frozenset({200, 400}),
        codes=frozenset({"BAD_REQUEST", "GRAPHQL_INVALID"}),
    )


def chunks(make: Maker) -> Script:
    """Send a good body in chunks of any size."""
    rest, parts = _GOOD, b""
    while rest:
        size = make.rng.randint(1, len(rest))
        extension = make.rng.choice([b"", b";a=b", b';a="b"'])
        parts += b"%x%s\r\n%s\r\n" % (size, extension, rest[:size])
        rest = rest[size:]
    ending = make.rng.choice([b"0\r\n\r\n", b"0\r\nX-Trailer: 1\r\n\r\n"])
    return Script((Send(make.request(headers=_CHUNKED | _JSON) + parts + ending), Read()))


_JSON = {"Content-Type": "application/json"}


def broken_chunks(make: Maker) -> Script:
    """Send chunks that are none."""
    rng = make.rng
    body = rng.choice(
        [
            b"zz\r\n{}\r\n0\r\n\r\n",
            b"-1\r\n{}\r\n0\r\n\r\n",
            b"ffffffffffffffffffff\r\n{}",
            b"2\r\n{}{}\r\n0\r\n\r\n",
            b"2\r\n{",
            b"2\n{}\n0\n\n",
            b"0x2\r\n{}\r\n0\r\n\r\n",
            b"2 \r\n{}\r\n0\r\n\r\n",
            b"2\r\n{}\r\n",
            b"\r\n",
            b"2;" + b"a" * 70_000 + b"\r\n{}\r\n0\r\n\r\n",
            values.mangled(rng, b"1e\r\n" + _GOOD + b"\r\n0\r\n\r\n"),
        ]
    )
    both = {"Content-Length": str(len(_GOOD))} if rng.random() < 0.2 else {}
    request = make.request(headers=_CHUNKED | _JSON | both) + body
    return Script((Send(request), HalfClose(), ReadEnd()), fresh=True, plain=True)


def wrong_length(make: Maker) -> Script:
    """Say that the body is shorter, longer or nothing of the kind."""
    rng = make.rng
    n = len(_GOOD)
    lengths = [n - 1, n + 1, n + 5_000, 1, 0, -1, "", "abc", f"{n}, {n}", f"+{n}", "9" * 30, 2**64]
    lengths += [f"{n}\t", f" {n} ", f"0{n}", f"{n}.0", hex(n), "٣"]
    request = make.request(_GOOD, headers={"Content-Length": str(rng.choice(lengths))})
    return Script((Send(request), HalfClose(), ReadEnd()), fresh=True, plain=True)


def half_closed(make: Maker) -> Script:
    """Stop sending before, in the middle of, or after a request."""
    request = make.request(_GOOD)
    cut = make.rng.choice([0, 1, len(request) // 2, len(request) - 1, len(request)])
    return Script((Send(request[:cut]), HalfClose(), ReadEnd()), fresh=True, plain=True)


def left(make: Maker) -> Script:
    """Leave in the middle of a request, or without waiting for the answer."""
    request = make.request(written({"query": documents.DOCUMENTS["organizations"]}))
    cut = make.rng.choice([1, len(request) // 2, len(request) - 1, len(request)])
    return Script((Send(request[:cut]), Reset()), fresh=True, plain=True)


def slow_body(make: Maker) -> Script:
    """Send a good request a few bytes at a time."""
    request = make.request(_GOOD)
    cuts = sorted(make.rng.sample(range(1, len(request)), 4))
    steps: list[Step] = []
    for start, end in zip([0, *cuts], [*cuts, len(request)], strict=True):
        steps += [Send(request[start:end]), Pause(make.rng.randint(1, 20) / 1000)]
    return Script((*steps, Read()), fresh=True)


def pipelined(make: Maker) -> Script:
    """Send several requests and only then listen; they must be answered in their order."""
    rng = make.rng
    bodies = [_GOOD, b"{", b"[]", written({"query": documents.soup(rng)})]
    requests = [make.request(rng.choice(bodies)) for _ in range(rng.randint(2, 8))]
    return Script((Send(b"".join(requests)), Read(len(requests))))


def pipelined_rubbish(make: Maker) -> Script:
    """Send a good request and what is none behind it."""
    rng = make.rng
    behind = rng.choice([b"\x00" * 10, b"\r\n\r\n", rng.randbytes(50), b"GET / HTTP/9.9\r\n\r\n"])
    request = make.request(_GOOD) + behind
    return Script((Send(request), HalfClose(), ReadEnd()), fresh=True, plain=True)


def oversized_body(make: Maker) -> Script:
    """Send more than is taken."""
    rng = make.rng
    size = rng.choice([_LIMIT, _LIMIT + 1, _LIMIT + 70_000, 2 * _LIMIT])
    padding = b" " * (size - len(_GOOD))
    body = rng.choice([_GOOD + padding, b"[" * size, b'{"query": "' + b"x" * (size - 13) + b'"}'])
    if rng.random() < 0.7:
        return make.asked(body)
    if rng.random() < 0.5:
        part = b"%x\r\n%s\r\n" % (len(body), body)
        request = make.request(headers=_CHUNKED | _JSON) + part + b"0\r\n\r\n"
        return Script((Send(request), Read()))
    # Absurdly large, it says; nobody waits for that.
    request = make.request(_GOOD, headers={"Content-Length": str(100 * _LIMIT)})
    return Script((Send(request), Read()), fresh=True)


def oversized_headers(make: Maker) -> Script:
    """Send headers that are long or many."""
    rng = make.rng
    size = rng.choice([9_000, 70_000, 300_000])
    more = rng.choice(
        [
            b"X-Long: " + b"a" * size + b"\r\n",
            b"A" * size + b": 1\r\n",
            b"".join(b"X-%d: 1\r\n" % n for n in range(size // 60)),
            b"Cookie: " + b"a=b; " * (size // 5) + b"\r\n",
            b"Authorization: Bearer " + b"x" * size + b"\r\n",
        ]
    )
    request = make.request(_GOOD, more=more)
    return Script((Send(request), HalfClose(), ReadEnd()), fresh=True, plain=True)


def bad_key(make: Maker) -> Script:
    """Send a key that is mistyped, unknown or somebody else's."""
    rng = make.rng
    key = rng.choice(list(world.KEYS.values()))
    sent = rng.choice(
        [
            f"Bearer {key[:-1]}z",
            f"Bearer {key.swapcase()}",
            # Well formed, and nobody's.
            f"Bearer exq_p_{'0' * 42}41ypFYV",
            f"bearer  {key} ",
            f"Basic {key}",
            "Bearer",
            "Bearer ",
            f"Bearer {'x' * 5_000}",
            f"Bearer {key}, Bearer {key}",
            f"Bearer {_header(make)}",
            f"Bearer {world.KEYS['foreign']}",
        ]
    )
    operation = rng.choice(documents.OPERATIONS)
    body = {
        "query": documents.DOCUMENTS[operation],
        "variables": documents.variables(rng, operation),
    }
    return make.asked(written(body), headers={"Authorization": sent})


def any_header(make: Maker) -> Script:
    """Send a header whose value is anything that may stand there."""
    name = make.rng.choice(["Accept", "Authorization", "X-Request-ID", "Origin", "Cookie"])
    headers = {"Authorization": None, name: _header(make).strip()}
    return Script(
        make.asked(_GOOD, headers=headers).steps,
        statuses=frozenset({200, 400, 401, 406}),
        codes=_REFUSED,
    )


def _header(make: Maker) -> str:
    letters = [chr(n) for n in range(0x20, 0x100) if n != 0x7F]
    return "".join(make.rng.choices(letters, k=make.rng.randint(0, 60)))


def twice(make: Maker) -> Script:
    """Send headers twice, with the same value or another."""
    rng = make.rng
    lines = [
        b"Host: elsewhere\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: %d\r\n" % len(_GOOD),
        b"Content-Type: text/plain\r\n",
        b"Authorization: Bearer nonsense\r\n",
        b"Accept: text/event-stream\r\n",
        b"X-Request-ID: other\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, identity\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
        b"Origin: https://evil.example\r\n",
    ]
    more = b"".join(rng.choices(lines, k=rng.randint(1, 3)))
    request = make.request(_GOOD, more=more)
    return Script((Send(request), HalfClose(), ReadEnd()), fresh=True, plain=True)


def no_http(make: Maker) -> Script:
    """Send what is no request."""
    rng = make.rng
    request = rng.choice(
        [
            rng.randbytes(rng.randint(1, 300)),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
            b"GET\r\n\r\n",
            b"GET /graphql\r\n\r\n",
            b"GET /graphql HTTP/2.0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"POST /graphql HTTP/1.1\r\nHost : x\r\n\r\n",
            b"POST /graphql HTTP/1.1\r\n Folded: x\r\n\r\n",
            b"POST /graphql HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}",
            b"POST /graphql HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
            b"POST /graphql HTTP/1.1\r\n\r\n",
            values.mangled(rng, make.request(_GOOD), 8),
        ]
    )
    return Script((Send(request), HalfClose(), ReadEnd()), fresh=True, plain=True)


def preflight(make: Maker) -> Script:
    """Ask as a browser does, from a page that may or may not."""
    rng = make.rng
    headers: dict[str, str | None] = {
        "Origin": rng.choice(
            ["https://app.example", "https://evil.example", "null", _header(make)]
        ),
        "Access-Control-Request-Method": rng.choice(["POST", "DELETE", "FOO", ""]),
        "Access-Control-Request-Headers": rng.choice(["authorization", "x-evil", "", "," * 500]),
    }
    request = make.request(None, method="OPTIONS", headers=headers)
    # Answered by what surrounds the edge, in plain text.
    return Script((Send(request), Read()), plain=True)
