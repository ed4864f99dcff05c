"""What is sold and what it costs by the rules: reckoned here anew, in whole numbers and fractions.

Nothing of this is taken from the functions that charge.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from app.catalog.edits import ModelTerms, PriceTerms
from tests.support.accounts import CREDIT

_MILLION: Final = 1_000_000
_THOUSAND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Policy:
    """What a project makes of a cost."""

    nanodollars_per_credit: int
    increment: int
    minimum_charge: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model: how it is reached, and in billionths of a dollar for a million tokens its price."""

    key: str
    # How its charges are told of.
    told: str
    provider: str
    read: int
    cached: int
    written: int
    # Micro-credits for a thousand tokens, in place of all that.
    rate: int | None = None
    is_litellm: bool = False

    @property
    def terms(self) -> ModelTerms:
        """Return it as the catalog has it."""
        return ModelTerms(
            self.key, self.provider, f"{self.key}-1", "Said", "fast", ["text"], 100_000, 10_000,
            self.rate,
        )  # fmt: skip

    @property
    def price(self) -> PriceTerms:
        """Return its price as the catalog has it."""
        return PriceTerms(self.read, self.cached, self.written, "invented")

    def charge(self, policy: Policy, read: int, cached: int, written: int) -> int:
        """Return what tokens cost, in micro-credits."""
        if self.rate is None:
            exact = (read - cached) * self.read + cached * self.cached + written * self.written
            # Rounded up to a billionth of a dollar, then to what the project charges by.
            cost = ceil(Fraction(exact, _MILLION))
            credits = Fraction(cost * CREDIT, policy.nanodollars_per_credit)
        else:
            credits = Fraction((read + written) * self.rate, _THOUSAND)
        if not credits:
            return 0
        steps = ceil(credits / policy.increment)
        return max(steps * policy.increment, policy.minimum_charge)


# A token read is half a credit, one from a cache a quarter, one written two.
SAID: Final = Model(
    "said", "by a price", "said", 500_000_000_000, 250_000_000_000, 2_000_000_000_000
)
# No multiple of anything.
OTHER: Final = Model(
    "other", "by another price", "said", 777_777_777_777, 77_777_777_779, 3_141_592_653_589
)
RATED: Final = Model(
    "rated", "by a rate of its own", "said", 500_000_000_000, 250_000_000_000, 2_000_000_000_000,
    rate=1_234_567_891,
)  # fmt: skip
# Of a provider with a protocol of its own.
CLAUDE: Final = Model(
    "claude", "through litellm", "anthropic", 300_000_000_007, 30_000_000_011, 1_500_000_000_013,
    is_litellm=True,
)  # fmt: skip
MODELS: Final = (SAID, OTHER, RATED, CLAUDE)

# Charges by the quarter of a credit, and to the micro-credit.
COARSE: Final = Policy(1_000_000, 250_000, 250_000)
FINE: Final = Policy(1_234_567, 1, 1)
