"""Projects, organizations and keys in GraphQL."""
