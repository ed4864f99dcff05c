"""All kinds of scripts, how often each is played, and the script of an index."""

from random import Random

from tests.fuzzing import bodies, requests, sockets, trusted
from tests.fuzzing.script import Kind, Maker, Script

BLOCK = 1_000
# The last ones of each block are played one at a time: only then is it known who costs what.
ALONE = 50

# Cheap ones are played often; those that send megabytes, or open a hundred subscriptions,
# are played often enough.
KINDS: dict[Kind, float] = {
    bodies.good: 4,
    bodies.any_body: 4,
    bodies.broken_json: 6,
    bodies.wrong_shape: 6,
    bodies.bad_utf8: 3,
    bodies.lone_surrogates: 4,
    bodies.nuls: 4,
    bodies.huge_numbers: 4,
    bodies.deep_json: 2,
    bodies.wide_json: 1,
    bodies.deep_document: 2,
    bodies.wide_document: 1,
    bodies.alias_bomb: 1,
    bodies.fragment_bomb: 2,
    bodies.circular_fragments: 2,
    bodies.token_soup: 6,
    bodies.bent_document: 6,
    bodies.grown_document: 4,
    bodies.mutated_variables: 16,
    bodies.any_request: 4,
    requests.content_type: 3,
    requests.accept: 3,
    requests.method: 3,
    requests.path: 3,
    requests.query_string: 4,
    requests.query_parameters: 3,
    requests.chunks: 3,
    requests.broken_chunks: 3,
    requests.wrong_length: 3,
    requests.half_closed: 2,
    requests.left: 2,
    requests.slow_body: 1,
    requests.pipelined: 2,
    requests.pipelined_rubbish: 1,
    requests.oversized_body: 0.5,
    requests.oversized_headers: 0.5,
    requests.bad_key: 4,
    requests.any_header: 4,
    requests.twice: 3,
    requests.no_http: 3,
    requests.preflight: 1,
    trusted.named_document: 8,
    trusted.unknown_digest: 2,
    trusted.bad_digest: 4,
    trusted.other_digest: 3,
    trusted.simple_get: 2,
    trusted.preflighted_get: 4,
    trusted.dear_document: 2,
    trusted.events_named: 2,
    sockets.bad_handshake: 3,
    sockets.flipped_frames: 2,
    sockets.wrong_frames: 2,
    sockets.compressed_frames: 0.5,
    sockets.odd_messages: 3,
    sockets.wrong_order: 2,
    sockets.same_ids: 1,
    sockets.socket_documents: 1,
    sockets.few_subscriptions: 1,
    sockets.subscription_flood: 0.05,
    sockets.abrupt_close: 1,
    sockets.events_left: 1,
    sockets.events_refused: 1,
    sockets.events_half_asked: 0.5,
}
_KINDS = list(KINDS)
_WEIGHTS = list(KINDS.values())


def script(seed: int, index: int) -> tuple[str, Script]:
    """Return the name of a kind and the script: always the same for a seed and an index."""
    rng = Random(f"{seed}/{index}")
    block, place = divmod(index, BLOCK)
    if place >= BLOCK - ALONE:
        kind = _KINDS[(block * ALONE + place - (BLOCK - ALONE)) % len(_KINDS)]
    else:
        kind = rng.choices(_KINDS, _WEIGHTS)[0]
    return kind.__name__, kind(Maker(index, rng))
