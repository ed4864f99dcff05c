"""A provider that stands in for real ones, in development and in tests: real HTTP, no model.

It speaks OpenAI's protocol and says what it is told to: how many tokens, how fast, and how it
fails. What it says is counted, so that a charge can be compared with the truth.
"""

from app.standin.server import StandIn

__all__ = ["StandIn"]
