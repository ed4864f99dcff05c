"""Credits in GraphQL: what clients may ask for, do, and watch."""
