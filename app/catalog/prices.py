"""What models cost: the price list that comes with litellm, read without importing it.

Importing it takes seconds and hundreds of megabytes; the list is one JSON file. Its figures are
dollars for a token and become whole nanodollars for a million: exactly, or they are refused.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib import metadata
from typing import Any

from app.catalog.edits import PriceTerms

_PACKAGE = "litellm"
_FILE = "model_prices_and_context_window_backup.json"
_FIGURES = ("input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost")
_NANODOLLARS_PER_MILLION = 1_000_000_000 * 1_000_000


class NoPrice(LookupError):  # noqa: N818  # named for what the caller sees
    """The list has no whole price for a model."""


class PriceList:
    """The prices of one release of the list."""

    def __init__(self, entries: Mapping[str, Mapping[str, Any]], source: str) -> None:
        self._entries = entries
        self._source = source

    @classmethod
    @cache
    def bundled(cls) -> "PriceList":
        """Read the list that is installed; once, and of it only what prices are made of."""
        distribution = metadata.distribution(_PACKAGE)
        [file] = [each for each in distribution.files or () if each.name == _FILE]
        entries = json.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
        figures = {
            name: {figure: entry[figure] for figure in _FIGURES if figure in entry}
            for name, entry in entries.items()
        }
        return cls(figures, f"{_PACKAGE} {distribution.version}")

    def price(self, name: str) -> PriceTerms:
        """Return what an entry of the list costs; raises `NoPrice`."""
        entry = self._entries.get(name, {})
        taken, given, cached = (entry.get(figure) for figure in _FIGURES)
        if taken is None or given is None:
            raise NoPrice(f"{self._source} has no price for {name}")
        cached = taken if cached is None else cached
        return PriceTerms(
            _nanodollars(name, taken),
            _nanodollars(name, cached),
            _nanodollars(name, given),
            self._source,
        )


def _nanodollars(name: str, dollars_per_token: Decimal | int) -> int:
    amount = Decimal(dollars_per_token) * _NANODOLLARS_PER_MILLION
    if amount < 0 or amount != amount.to_integral_value():
        raise NoPrice(f"the price of {name} is no whole number of nanodollars: {amount}")
    return int(amount)
