"""Requests to `/v1` that are nearly right, drawn by hypothesis; and what each answer must be."""

import json
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from app.core.refusals import CATALOGUE
from app.openai.shapes import _CODES, _TYPES
from tests.fuzzing.judge import Wrong, no_leak
from tests.fuzzing.judge import judge as judge_graphql
from tests.fuzzing.values import NASTY
from tests.fuzzing.wire import Answer

# Of ours, and what the stand-in says when it refuses.
REFUSED_BY_PROVIDER: Final = "refused_by_the_stand_in"
_OWN: Final = {_CODES.get(code, code.lower()) for code in CATALOGUE}
_REASONS: Final = {
    "feature_not_found", "feature_disabled", "not_in_plan", "plan_not_active",
    "plan_feature_disabled", "quality_not_allowed",
}  # fmt: skip
CODES: Final = {*_OWN, *_REASONS, "model_not_found", "unknown_url", REFUSED_BY_PROVIDER}
_KINDS: Final = {*_TYPES.values(), "api_error"}

PROMPTS: Final = {"/chat/completions": "messages", "/completions": "prompt", "/embeddings": "input"}
_NESTED: Final = tuple(
    opening * depth + "1" + closing * depth
    for depth in (60, 130, 260, 1_100)
    for opening, closing in (("[", "]"), ('{"a":', "}"))
)
# As they are written, since no writer of JSON writes them.
_RAW: Final = (
    "9" * 400, "-" + "9" * 30, "1" + "0" * 309, "-1e-999", "18446744073709551615",
    "18446744073709551616", "-9223372036854775809", "2147483648", "100000001", "0", "-1", "1.0",
    "1.5", "true", "null", '""', "[]", "{}", "[[]]", "[null]", '"\\u0000"', *_NESTED,
    json.dumps("long " * 5_000), json.dumps("z" * 20_000),
)  # fmt: skip
_BROKEN: Final = (
    "NaN", "-Infinity", "1e999", "01", '"\\ud800"', '"\\udfff\\ud800"', '"\\x"', '"unclosed', "'a'",
    "/* */1", "[" * 20_000, "undefined", "",
)  # fmt: skip
_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
).map(json.dumps)
_VALUES: Final = st.sampled_from(_RAW) | _JSON | st.sampled_from(NASTY).map(json.dumps)
_CONTENTS: Final = st.sampled_from(
    [
        '"hello"', "null", "7", '["a"]', '[{"type": "text", "text": "a"}]', '[{"type": "text"}]',
        '[{"type": "image_url", "image_url": {"url": "data:,"}}]', '[{"type": "input_audio"}]',
        '[{"type": 7, "text": {}}]', '{"text": "a"}', "[[]]", '"\\u0000"', '"\\ud800"',
    ]
)  # fmt: skip
_MESSAGES: Final = st.lists(
    st.builds(
        '{{"role": {}, "content": {}{}}}'.format,
        st.sampled_from(['"user"', '"system"', '"tool"', "7", "null", '"\\u0000"']),
        _CONTENTS,
        st.sampled_from(["", "", ', "tool_calls": [{}]', ', "name": 7', ', "tool_calls": 7']),
    ),
    max_size=4,
).map(lambda each: f"[{', '.join(each)}]")
_GOOD: Final[dict[str, tuple[str, ...]]] = {
    "model": ('"small"', '"other"', '"auto"', '"nobody\'s"'),
    "max_tokens": ("1", "30", "100000000"),
    "max_completion_tokens": ("1", "30"),
    "n": ("1", "2", "128", "129"),
    "best_of": ("1", "3"),
    "stream": ("true", "false", "null"),
    "stream_options": ('{"include_usage": true}', '{"include_usage": 1}', "null"),
    "tools": ('[{"type": "function", "function": {"name": "say"}}]', "[]"),
    "response_format": ('{"type": "json_object"}', '{"type": "json_schema"}'),
    "user": ('"u"',),
    "temperature": ("0", "0.7"),
    "stop": ('"."', '["a", "b"]'),
    "of_tomorrow": ("1", "{}"),
}
_PROMPTS_OF: Final = {
    "messages": _MESSAGES | st.just('[{"role": "user", "content": "hello"}]'),
    "prompt": st.sampled_from(
        ['"once"', '["a", "b"]', "[1, 2]", "[[1], [2]]", '["a", 1]', f"[{'[], ' * 129}[]]"]
    ),
    "input": st.sampled_from(['"a"', '["a", "b"]', "[1, 2, 3]", "[[1]]", "[{}]", '["a", null]']),
}
_NAMES: Final = st.sampled_from([*_GOOD, *PROMPTS.values(), "", "__proto__", "model\x00"])

# What a header may carry, and what it may not.
_LATIN: Final = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40
).map(lambda text: text.encode("latin-1"))
_ODD: Final = _LATIN | st.sampled_from(
    [b"", b" ", b"a" * 255, b"b" * 256, b"c" * 9_000, b"\xff\xfe", b"\xc3\xa9", b"a\x00b", b"a\x01",
     b"'; select 1; --", b"%00", b"null", b"a, b"]
)  # fmt: skip
_SOMEBODY: Final = (
    b"00000000-0000-4000-8000-000000000099", b"{00000000-0000-4000-8000-000000000099}",
    b"urn:uuid:00000000-0000-4000-8000-000000000099", b"0" * 32, b"not-an-id", b"0x" + b"0" * 30,
)  # fmt: skip
_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH")
_ILLEGAL: Final = frozenset({*range(32), 127} - {9})


@dataclass(frozen=True, slots=True)
class Request:
    """A request; `KEY` and `ORG` in its headers stand for what is known when it is sent."""

    method: str
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def is_http(self) -> bool:
        """Whether it can be read as HTTP: else it is answered before anybody knows its path."""
        is_known = self.method in _METHODS
        return is_known and not any(_ILLEGAL & {*value} for _, value in self.headers)

    def written(self, key: str, organization: str) -> bytes:
        """Return its bytes."""
        lines = [
            name
            + b": "
            + value.replace(b"KEY", key.encode()).replace(b"ORG", organization.encode())
            for name, value in self.headers
        ]
        length = b"Content-Length: %d" % len(self.body)
        head = [self.method.encode() + b" /v1" + self.path + b" HTTP/1.1", b"Host: x", *lines]
        return b"\r\n".join([*head, length, b"", self.body])


@st.composite
def _bodies(draw: st.DrawFn, path: str) -> bytes:
    """Draw a body: right but for some members, or but for some bytes."""
    prompt = PROMPTS[path]
    members = {"model": '"small"', prompt: draw(_PROMPTS_OF[prompt])}
    if draw(st.booleans()):
        members["max_tokens"] = "30"
    if draw(st.integers(0, 3)) == 0:
        members["stream"] = "true"
    pairs = list(members.items())
    for _ in range(draw(st.integers(0, 3))):
        name = draw(_NAMES)
        good = _PROMPTS_OF.get(name, st.sampled_from(_GOOD.get(name, ("1",))))
        pair = name, draw(good | _VALUES)
        match draw(st.integers(0, 2)):
            case 0:
                # Twice, if it is there.
                pairs.append(pair)
            case 1:
                pairs = [each for each in pairs if each[0] != name] + [pair]
            case _:
                pairs = [each for each in pairs if each[0] != name]
    if draw(st.integers(0, 15)) == 0:
        pairs.append((draw(_NAMES), draw(st.sampled_from(_BROKEN))))
    body = ("{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in pairs) + "}").encode()
    match draw(st.integers(0, 19)):
        case 0:
            at = draw(st.integers(0, len(body)))
            bad = st.sampled_from(
                [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\0"]
            )
            return body[:at] + draw(bad | st.binary(max_size=4)) + body[at:]
        case 1:
            return body[: draw(st.integers(0, len(body)))]
        case 2:
            return draw(
                st.sampled_from([
                    b"\xef\xbb\xbf" + body, body.decode().encode("utf-16"), b"", b"null", b"7",
                    b"[" + body + b"]", b'"text"', body + body, b" " * 5_000 + body,
                ])
            )  # fmt: skip
        case _:
            return body


def _headers(draw: st.DrawFn) -> tuple[tuple[bytes, bytes], ...]:
    """Draw headers: right but for one or two."""
    sent: list[tuple[bytes, bytes]] = [
        (b"Authorization", b"Bearer KEY"),
        (b"OpenAI-Organization", b"ORG"),
        (b"X-Exchequer-Feature", b"summary"),
        (b"Content-Type", b"application/json"),
    ]
    odd: dict[bytes, Any] = {
        b"Authorization": st.sampled_from(
            [b"", b"Bearer", b"Bearer  KEY", b"bearer KEY", b"Basic KEY", b"Bearer KEYx", b"KEY",
             b"Bearer exq_p_" + b"0" * 50, b"Bearer " + b"k" * 5_000, b"Bearer \xff\xfe"]
        ),
        b"OpenAI-Organization": st.sampled_from(_SOMEBODY),
        b"X-Exchequer-Organization": st.sampled_from([*_SOMEBODY, b"ORG"]),
        b"Idempotency-Key": st.sampled_from([b"again-1", b"again-2", b"again-3"]),
        b"X-Exchequer-Feature": st.sampled_from([b"summary", b"chat_completion", b"nothing"]),
        b"X-Exchequer-Quality": st.sampled_from([b"fast", b"best"]),
        b"X-Exchequer-Customer": st.just(b"customer"),
        b"X-Exchequer-Related-Type": st.just(b"order"),
        b"X-Exchequer-Related-Id": st.just(b"7"),
        b"Content-Type": st.sampled_from([b"text/plain", b"application/json; charset=utf-16"]),
        b"Origin": st.sampled_from([b"https://evil.example", b"null", b"http://x"]),
        b"X-Request-ID": st.just(b"mine"),
        b"Accept": st.sampled_from([b"text/event-stream", b"image/png"]),
        b"Content-Encoding": st.just(b"gzip"),
    }  # fmt: skip
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        name = draw(st.sampled_from([*odd]))
        value = draw(odd[name] | _ODD).strip(b" \t")
        how = draw(st.integers(0, 3))
        if how:
            sent = [each for each in sent if each[0] != name]
        if how < 3:
            sent.append((name, value))
    return tuple(sent)


@st.composite
def _requests(draw: st.DrawFn) -> Request:
    kind = draw(st.integers(0, 19))
    headers = _headers(draw)
    if kind == 0:
        tail = st.sampled_from(
            [b"", b"/", b"/small", b"/nobody", b"/%00", b"/%ff%fe", b"/..%2f..", b"/a?b=%",
             b"/%ud800", b"/" + b"m" * 3_000]
        )  # fmt: skip
        return Request("GET", b"/models" + draw(tail), headers, b"")
    path = draw(st.sampled_from([*PROMPTS, "/chat/completions", "/chat/completions"]))
    body = draw(_bodies(path))
    method, written = "POST", path.encode()
    if kind == 1:
        method = draw(st.sampled_from([*_METHODS, "post", "X"]))
    elif kind == 2:
        written = draw(
            st.sampled_from(
                [b"", b"/", b"/chat", b"/chat/completions/", b"//chat/completions", b"/files",
                 b"/chat/completions?a=%ff", b"/%00", b"/chat%2fcompletions"]
            )
        )  # fmt: skip
    return Request(method, written, headers, body)


def requests(count: int, number: int) -> list[Request]:
    """Return so many, always the same for a seed."""
    drawn: list[Request] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_requests())
    def draw(one: Request) -> None:
        drawn.append(one)

    draw()
    return drawn


def judge(request: Request, answer: Answer | None) -> str:
    """Raise `Wrong` where an answer is; return what it comes to, to be counted."""
    if answer is None:
        raise Wrong("no answer")
    no_leak(answer.body)
    if answer.status >= 500:
        raise Wrong(f"a 5xx: {answer.status} {answer.body[:300]!r}")
    if not request.is_http:
        judge_graphql(answer, plain=True, own_ids=False)
        return "no HTTP"
    if answer.status >= 400:
        return _judge_error(answer)
    if answer.kind == "text/event-stream":
        if not answer.body.endswith(b"data: [DONE]\n\n") or b'"error"' in answer.body:
            raise Wrong(f"a stream that does not end in order: {answer.body[-300:]!r}")
        return "a stream"
    told = _read(answer)
    if request.method == "POST" and "credits_used" not in told["usage"]:
        raise Wrong(f"an answer that was not charged: {answer.body[:300]!r}")
    return "answered"


def _judge_error(answer: Answer) -> str:
    told = _read(answer)
    error = told.get("error")
    if told.keys() != {"error"} or not isinstance(error, dict):
        raise Wrong(f"an error of another shape: {answer.body[:300]!r}")
    is_shaped = (
        error.keys() == {"message", "type", "param", "code"}
        and isinstance(error["message"], str)
        and error["message"]
        and isinstance(error["param"], str | None)
    )
    if not is_shaped:
        raise Wrong(f"an error of another shape: {answer.body[:300]!r}")
    if error["type"] not in _KINDS or error["code"] not in CODES:
        raise Wrong(f"an error that is not of the catalogue: {answer.body[:300]!r}")
    if answer.status == 401 and answer.headers.get("www-authenticate") != "Bearer":
        raise Wrong("a key is refused, and it is not said how one is sent")
    return str(error["code"])


def _read(answer: Answer) -> dict[str, Any]:
    if answer.kind != "application/json":
        raise Wrong(f"no JSON: {answer.status} {answer.kind} {answer.body[:200]!r}")
    try:
        told = json.loads(answer.body)
    except ValueError:
        raise Wrong(f"broken JSON: {answer.body[:200]!r}") from None
    if not isinstance(told, dict):
        raise Wrong(f"no object: {answer.body[:200]!r}")
    return told
