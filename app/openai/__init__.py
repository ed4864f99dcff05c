"""Models for any client of OpenAI's protocol: `/v1`, another door to the same flow as GraphQL."""

from app.openai.edge import PREFIX, OpenAIEdge

__all__ = ["PREFIX", "OpenAIEdge"]
