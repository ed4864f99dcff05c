"""Calls of models, in GraphQL."""
