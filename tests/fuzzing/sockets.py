"""Kinds of WebSockets and streams of events that go wrong, or are left."""

import base64
import json
import zlib
from collections.abc import Sequence
from functools import cache

from tests.fuzzing import documents, trusted, values, world
from tests.fuzzing.script import (
    HalfClose,
    Hear,
    HearEnd,
    Maker,
    Read,
    ReadEnd,
    ReadStream,
    Reset,
    Script,
    Send,
    Step,
    Upgrade,
    written,
)

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_LIMIT = 262_144
_INIT = {"type": "connection_init", "payload": {"Authorization": f"Bearer {world.ADMIN_KEY}"}}
_LEAVE: tuple[Step, ...] = (Reset(), HalfClose())
_READ: tuple[Step, ...] = (ReadStream(), Read())
_LAST = {"id": "last", "type": "subscribe", "payload": {"query": "{ __typename }"}}
_BALANCE = "subscription ($o: ID!) { creditBalanceUpdated(organizationId: $o) { version } }"


def _handshake(make: Maker, **changed: str | None) -> bytes:
    headers: dict[str, str | None] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(make.rng.randbytes(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "graphql-transport-ws",
        "Authorization": None,
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    return make.request(None, method="GET", headers=headers)


def frame(
    make: Maker, data: bytes, opcode: int = _TEXT, *, bits: int = 0x80, masked: bool = True
) -> bytes:
    """Return a frame of the protocol, or one that breaks it."""
    head = bytes([bits | opcode])
    flag = 0x80 if masked else 0
    if len(data) < 126:
        head += bytes([flag | len(data)])
    elif len(data) < 65_536:
        head += bytes([flag | 126]) + len(data).to_bytes(2, "big")
    else:
        head += bytes([flag | 127]) + len(data).to_bytes(8, "big")
    if not masked:
        return head + data
    mask = make.rng.randbytes(4)
    pad = (mask * (len(data) // 4 + 1))[: len(data)]
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")
    return head + mask + mixed.to_bytes(len(data), "big")


def _opened(make: Maker, frames: Sequence[bytes], *then: Step, **changed: str | None) -> Script:
    steps = (Send(_handshake(make, **changed)), Upgrade(), Send(b"".join(frames)), *then)
    return Script(steps, fresh=True)


def _said(make: Maker, messages: Sequence[object]) -> Script:
    """Send messages, then one that is answered, and listen until it is or the socket closes."""
    frames = [
        frame(make, each if isinstance(each, bytes) else written(each))
        for each in (*messages, _LAST)
    ]
    return _opened(make, frames, Hear(), Send(frame(make, b"\x03\xe8", _CLOSE)), HearEnd())


def _subscribe(name: object, query: object, variables: object = None) -> dict[str, object]:
    return {"id": name, "type": "subscribe", "payload": {"query": query, "variables": variables}}


def bad_handshake(make: Maker) -> Script:
    """Open a socket in a way that is none."""
    rng = make.rng
    broken: dict[str, str | None] = rng.choice(
        [
            {"Sec_WebSocket_Version": rng.choice(["12", "", "13, 8", "x", None])},
            {"Sec_WebSocket_Key": rng.choice(["", "short", "é", "=" * 24, None])},
            {"Sec_WebSocket_Protocol": rng.choice(["graphql-ws", "", ",,,", "x" * 5_000, None])},
            {"Sec_WebSocket_Extensions": rng.choice(["permessage-deflate; x=y", ";;", "é", "x"])},
            {"Upgrade": rng.choice(["h2c", "websocket, h2c", "WEBSOCKET", "", None])},
            {"Connection": rng.choice(["close", "keep-alive, Upgrade", "", None])},
            {"Origin": rng.choice(["https://evil.example", "null", "", "é", "http://"])},
            {"Authorization": rng.choice(["Bearer nonsense", "Basic x", "Bearer ", "é"])},
            {"Content_Length": "5", "Content_Type": "application/json"},
        ]
    )
    request = _handshake(make, **broken)
    if rng.random() < 0.2:
        request = request.replace(b"GET ", rng.choice([b"POST ", b"HEAD "]), 1)
    if rng.random() < 0.2:
        request = request.replace(b"/graphql ", rng.choice([b"/ ", b"/health ", b"/graphql/x "]), 1)
    # Frames behind it that did not wait for the answer, at times.
    early = frame(make, written(_INIT)) if rng.random() < 0.2 else b""
    return Script((Send(request + early), HalfClose(), ReadEnd()), fresh=True, plain=True)


def flipped_frames(make: Maker) -> Script:
    """Flip bits of frames that were good."""
    frames = b"".join(frame(make, written(each)) for each in (_INIT, {"type": "ping"}, _LAST))
    return _opened(make, [values.mangled(make.rng, frames)], HalfClose(), HearEnd())


def wrong_frames(make: Maker) -> Script:
    """Send frames that the protocol forbids, or that few have seen."""
    rng = make.rng
    ping = written({"type": "ping"})
    wrong = rng.choice(
        [
            [frame(make, ping, opcode=rng.choice([3, 7, 11, 15]))],
            [frame(make, ping, masked=False)],
            [frame(make, ping, bits=rng.choice([0xC0, 0xA0, 0x90, 0xF0]))],
            [frame(make, ping[:5], bits=0), frame(make, ping[5:])],
            [frame(make, ping[:5], bits=0), frame(make, ping[5:], 0)],
            [frame(make, ping, 0)],
            [frame(make, b"\xff\xfe")],
            [frame(make, b"\xed\xa0\x80"), frame(make, b'{"type": "\xff"}')],
            [frame(make, ping, _BINARY)],
            [frame(make, b"", _BINARY), frame(make, b"")],
            [frame(make, b"a" * 126, _PING)],
            [frame(make, b"a" * 125, _PING, bits=0)],
            [frame(make, b"x", _PONG), frame(make, b"x" * 125, _PING)] * 20,
            [frame(make, rng.choice([b"\x03", b"\x00\x00", b"\x03\xee", b"\x13\x88\xff"]), _CLOSE)],
            [frame(make, b"", _CLOSE), frame(make, ping)],
            [bytes([0x81, 0xFF]) + b"\xff" * 8],
            [bytes([0x81, 0xFF]) + (2**40).to_bytes(8, "big") + b"abcd"],
            [frame(make, b"x" * (_LIMIT + 1))],
            [frame(make, b'{"type": "ping", "payload": "' + b"x" * (_LIMIT - 40) + b'"}')],
            [frame(make, b"[", bits=0), *[frame(make, b"[" * 50_000, 0, bits=0)] * 6],
        ]
    )
    before = [frame(make, written(_INIT))] if rng.random() < 0.5 else []
    return _opened(make, [*before, *wrong], HalfClose(), HearEnd())


def compressed_frames(make: Maker) -> Script:
    """Send frames that are compressed, wrongly or far too well."""
    rng = make.rng
    packed = _packed(rng.choice([b" " * 20_000_000, written(_INIT), b"[" * _LIMIT]))
    data = rng.choice([packed[:-4], packed, rng.randbytes(100), packed[: len(packed) // 2]])
    extension = {"Sec_WebSocket_Extensions": "permessage-deflate"}
    return _opened(make, [frame(make, data, bits=0xC0)], HalfClose(), HearEnd(), **extension)


@cache
def _packed(plain: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH)


def odd_messages(make: Maker) -> Script:
    """Send what is no message, before the first one or after."""
    rng = make.rng
    odd = [
        b"",
        b"null",
        b"{",
        b"[" * rng.choice([10, 50_000]),
        values.nested(rng, 5_000).encode(),
        values.mangled(rng, written(_LAST)),
        values.value(rng),
        {"type": values.value(rng)},
        {"id": values.value(rng), "type": "subscribe", "payload": _LAST["payload"]},
        {"id": "1", "type": "subscribe", "payload": values.value(rng)},
        {"type": "connection_init", "payload": values.value(rng)},
        {"type": rng.choice(["ping", "pong", "complete"]), "payload": values.value(rng)},
        {"type": "connection_init", "payload": {"Authorization": values.value(rng)}},
        {
            "id": "1",
            "type": rng.choice(["start", "stop", "next", "error", "data", "connection_ack"]),
        },
        _subscribe(values.text(rng), documents.soup(rng), values.value(rng)),
        _subscribe("1", "{ __typename }") | {"payload": {"query": "{a}", "operationName": []}},
    ]
    before = [_INIT] if rng.random() < 0.6 else []
    return _said(make, [*before, *rng.choices(odd, k=rng.randint(1, 2))])


def wrong_order(make: Maker) -> Script:
    """Send messages that are good at another time."""
    messages = [_INIT, _subscribe("1", "{ __typename }"), {"id": "1", "type": "complete"}]
    messages += [{"type": "ping"}, {"type": "pong"}, {"id": "none", "type": "complete"}]
    bad = {"type": "connection_init", "payload": {"Authorization": "Bearer nonsense"}}
    count = make.rng.randint(1, 8)
    return _said(make, make.rng.choices([*messages, _INIT, bad], k=count))


def same_ids(make: Maker) -> Script:
    """Use the name of an operation that runs."""
    rng = make.rng
    name = rng.choice(["1", "", "last", "é" * 1_000])
    twice = [
        _subscribe(name, rng.choice([_BALANCE, "{ __typename }"]), {"o": world.ORGANIZATION})
        for _ in range(2)
    ]
    between = rng.choice([[], [{"id": name, "type": "complete"}]])
    return _said(make, [_INIT, twice[0], *between, twice[1]])


def socket_documents(make: Maker) -> Script:
    """Run documents over a socket: by name, mutated variables, bombs, what is grown."""
    rng = make.rng
    name = rng.choice(list(documents.DOCUMENTS))
    digest = rng.choice([trusted.DIGESTS[name], trusted.mistyped(rng, trusted.DIGESTS[name])])
    named = trusted.naming(rng, digest) | {"variables": documents.variables(rng, name)}
    asked = [
        _subscribe("1", documents.DOCUMENTS[name], documents.variables(rng, name)),
        _subscribe(
            "2",
            rng.choice([documents.grown, documents.bent, documents.deep, documents.aliases])(rng),
        ),
        {"id": "3", "type": "subscribe", "payload": named},
    ]
    return _said(make, [_INIT, *rng.sample(asked, rng.randint(1, 3))])


def few_subscriptions(make: Maker) -> Script:
    """Watch a few things and leave, properly or not."""
    frames = _watching(make, make.rng.randint(1, 8))
    good = Send(frame(make, b"\x03\xe8", _CLOSE))
    leave: list[tuple[Step, ...]] = [(good, HearEnd()), (HalfClose(), HearEnd()), (Reset(),)]
    listening = make.rng.choice([(), (Hear(),)])
    return _opened(make, frames, *listening, *make.rng.choice(leave))


def subscription_flood(make: Maker) -> Script:
    """Watch more than a socket may."""
    frames = _watching(make, 150)
    return _opened(make, frames, Hear(), Reset())


def _watching(make: Maker, count: int) -> list[bytes]:
    watched = [
        _subscribe(str(n), _BALANCE, {"o": make.rng.choice(world.IDS)}) for n in range(count)
    ]
    return [frame(make, written(each)) for each in (_INIT, *watched, _LAST)]


def abrupt_close(make: Maker) -> Script:
    """Leave in the middle of a frame, or of nothing."""
    frames = b"".join(_watching(make, 1))
    cut = make.rng.randint(0, len(frames))
    leave = make.rng.choice(_LEAVE)
    return _opened(make, [frames[:cut]], leave)


def events_left(make: Maker) -> Script:
    """Subscribe by server-sent events, and leave."""
    name = make.rng.choice(documents.SUBSCRIPTIONS)
    body = {"query": documents.DOCUMENTS[name], "variables": {"organizationId": world.ORGANIZATION}}
    key = {"Accept": "text/event-stream", "Authorization": f"Bearer {world.ADMIN_KEY}"}
    # A balance is told at once; of the others nobody knows when.
    events = make.rng.choice([0, 1]) if name == "creditBalanceUpdated" else 0
    request = make.request(written(body), headers=key)
    leave = make.rng.choice(_LEAVE)
    return Script((Send(request), ReadStream(events), leave), fresh=True)


def events_refused(make: Maker) -> Script:
    """Ask by server-sent events for what ends by itself."""
    rng = make.rng
    name = rng.choice([*documents.OPERATIONS, "creditBalanceUpdated"])
    given = documents.variables(rng, name)
    if name == "creditBalanceUpdated":
        given["organizationId"] = rng.choice([world.NOBODY, None, 5, "\x00"])
    query = documents.DOCUMENTS[name] if rng.random() < 0.6 else documents.wide(rng)
    body = rng.choice([written({"query": query, "variables": given}), b"{", b"[]"])
    request = make.request(body, headers={"Accept": "text/event-stream"})
    return Script((Send(request), ReadStream()), fresh=True)


def events_half_asked(make: Maker) -> Script:
    """Ask for events with a document that is not what a stream may run."""
    body = json.dumps({"query": "query A { __typename } query B { __typename }"}).encode()
    request = make.request(body, headers={"Accept": "application/json;q=0.5, text/event-stream"})
    return Script((Send(request), make.rng.choice(_READ)), fresh=True)
