"""Usage: what settled calls used."""

from app.usage.usage import Usage

__all__ = ["Usage"]
