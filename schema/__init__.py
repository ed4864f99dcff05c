"""The GraphQL edge: what clients may say, and how it is said."""
