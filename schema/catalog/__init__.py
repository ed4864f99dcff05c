"""The GraphQL face of the catalog domain."""
