"""OpenAI's protocol, for clients that speak it."""

from app.openai.edge import ASKED_BY_CLIENTS, PREFIX, TOLD_TO_CLIENTS, OpenAIEdge

__all__ = ["ASKED_BY_CLIENTS", "PREFIX", "TOLD_TO_CLIENTS", "OpenAIEdge"]
