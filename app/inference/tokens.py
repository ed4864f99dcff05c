"""How many tokens a prompt has: counted before a call, rather too many than too few.

Counted by the vocabulary that comes with litellm, whose package is not imported for it. Models
have vocabularies of their own, and providers add marks around each message; so a margin comes on
top. What a call used is told by its provider afterwards.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import orjson
import tiktoken

_ENCODING: Final = "cl100k_base"
_FILE: Final = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
_CACHE: Final = "TIKTOKEN_CACHE_DIR"

# A text without spaces is costly to encode at once; pieces come to a little more.
_PIECE: Final = 2_048
# As much is counted between turns of the loop; the rest of a long prompt elsewhere.
_AT_ONCE: Final = 16_384
# Of other vocabularies, in percent of what is counted.
_MARGIN: Final = 15
_PER_MESSAGE: Final = 8
_PER_REQUEST: Final = 16
# What a picture costs at most where its size is not told: a large one at full detail.
_PER_PICTURE: Final = 3_000
# Sounds and files are told as base64: seldom more than one token for so many characters.
_CHARACTERS_OF_A_FILE: Final = 4
_PICTURES: Final = frozenset({"image_url", "image", "input_image"})


class Tokens:
    """Counts; the vocabulary is read once, beside the loop."""

    def __init__(self) -> None:
        self._encoding: asyncio.Task[tiktoken.Encoding] | None = None

    async def counter(self) -> "Counter":
        """Return what counts, once the vocabulary is there."""
        if self._encoding is None or (
            self._encoding.done() and self._encoding.exception() is not None
        ):
            self._encoding = asyncio.create_task(asyncio.to_thread(_read), name="vocabulary")
        return Counter(await asyncio.shield(self._encoding))

    async def of_prompt(self, body: Mapping[str, Any]) -> int:
        """Return an upper bound of the tokens of a request, as its provider counts them."""
        counter = await self.counter()
        texts, fixed = _parts(body)
        if sum(map(len, texts)) <= _AT_ONCE:
            counted = counter.of_all(texts)
        else:
            counted = await asyncio.to_thread(counter.of_all, texts)
        return counted + -(-counted * _MARGIN // 100) + fixed


class Counter:
    """Counts tokens of texts."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding

    def of(self, text: str) -> int:
        """Return how many tokens a text has."""
        if len(text) <= _PIECE:
            return len(self._encoding.encode_ordinary(text))
        return sum(
            len(self._encoding.encode_ordinary(text[at : at + _PIECE]))
            for at in range(0, len(text), _PIECE)
        )

    def of_all(self, texts: Iterable[str]) -> int:
        """Return how many tokens some texts have: a line each, since each look costs a turn."""
        return self.of("\n".join(texts))


def _read() -> tiktoken.Encoding:
    distribution = metadata.distribution("litellm")
    [file] = [each for each in distribution.files or () if each.name == _FILE]
    before = os.environ.get(_CACHE)
    # The only way to say where it lies; nobody is asked over the network then.
    os.environ[_CACHE] = str(Path(str(file.locate())).parent)
    try:
        return tiktoken.get_encoding(_ENCODING)
    finally:
        if before is None:
            del os.environ[_CACHE]
        else:
            os.environ[_CACHE] = before


def _parts(body: Mapping[str, Any]) -> tuple[list[str], int]:
    """Return the texts of a request, and what the rest of it costs."""
    texts: list[str] = []
    fixed = _PER_REQUEST
    for message in _list(body.get("messages")):
        fixed += _PER_MESSAGE
        if isinstance(message, Mapping):
            for name, value in message.items():
                if name == "content" and not isinstance(value, str):
                    for part in _list(value):
                        fixed += _part(part, texts)
                elif name != "role":
                    # That is within what each message costs.
                    texts.append(_text(value))
    for name in ("prompt", "input"):
        for value in _prompts(body.get(name)):
            fixed += _PER_MESSAGE
            if isinstance(value, str):
                texts.append(value)
            else:
                # A prompt in tokens already.
                fixed += len(value)
    texts += [
        _text(body[name])
        for name in ("tools", "functions", "response_format", "suffix")
        if body.get(name) is not None
    ]
    return texts, fixed


def _part(part: object, texts: list[str]) -> int:
    if not isinstance(part, Mapping):
        texts.append(_text(part))
        return 0
    kind = part.get("type")
    if kind in _PICTURES:
        return _PER_PICTURE
    if kind in ("input_audio", "file", "input_file"):
        return len(_text(part)) // _CHARACTERS_OF_A_FILE
    texts.append(part["text"] if isinstance(part.get("text"), str) else _text(part))
    return 0


def _prompts(value: object) -> Iterator[str | list[object]]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        if value and all(isinstance(each, int) for each in value):
            yield value
        else:
            for each in value:
                yield each if isinstance(each, str | list) else _text(each)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
