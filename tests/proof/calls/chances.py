"""Calls made by chance: of what, how long, how told, how broken, and where who asked leaves."""

from dataclasses import dataclass
from random import Random

from tests.proof.calls.prices import MODELS, Model

_USAGES = ("true", "true", "true", "true", "none", "zero", "twice", "growing")
_LETTERS = (
    "abcdefghijklmnopqrstuvwxyz ",
    "äöüßéñ ",
    "подстановка ",
    "的一是不了人我在",
    "🙂🚀🏳️‍🌈",
    '"\\\n\t{}',
)
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Chance:
    """One call."""

    key: str
    model: Model
    # Roles and texts of what was said before.
    before: tuple[tuple[str, str], ...]
    said: str
    is_stream: bool
    choices: int = 1
    # After so many pieces; None hears it to its end.
    leaves_after: int | None = None
    usage: str = "true"
    fails: bool = False
    breaks: bool = False


def chance(seed: int, number: int) -> Chance:
    """Return the call of a number: the same seed makes the same."""
    dice = Random(f"{seed}-{number}")
    key = f"call-{number}"
    model = dice.choice(MODELS)
    tokens, chunk = dice.randint(0, 60), dice.randint(1, 16)
    pieces = -(-tokens // chunk)
    is_stream = dice.random() < 0.6
    # Who speaks Anthropic's protocol always tells what was used, and gives one answer.
    usage = "true" if model.is_litellm else dice.choice(_USAGES)
    choices = 1 if model.is_litellm or is_stream else dice.choice((1, 1, 2, 5))
    words = [f"{'x' * dice.randint(0, 30)} tokens={tokens}", f"chunk={chunk}", f"usage={usage}"]
    leaves = None
    fails = breaks = False
    kind = dice.random()
    if kind < 0.06:
        words.append(f"status={dice.choice((400, 404, 422))}")
        fails = True
    elif kind < 0.12:
        words.append("fails=1")
    if not fails and dice.random() < 0.3:
        words.append(f"cached={dice.randint(1, 20)}")
    if is_stream and pieces and kind > 0.9:
        words.append(f"cut={dice.randint(0, pieces)}")
        breaks = True
    elif is_stream and pieces > 1 and 0.6 < kind <= 0.9:
        # At each of them in turn.
        leaves = 1 + number % pieces
        words.append("pause=0.003")
    return Chance(
        key, model, _before(dice), " ".join(words), is_stream, choices, leaves, usage, fails, breaks
    )


def _before(dice: Random) -> tuple[tuple[str, str], ...]:
    return tuple((dice.choice(_ROLES), _text(dice)) for _ in range(dice.choice((0, 0, 1, 2, 5))))


def _text(dice: Random) -> str:
    letters = dice.choice(_LETTERS)
    return "".join(dice.choice(letters) for _ in range(dice.randint(1, 200)))
