"""Calls of models through `/v1`: what is charged is what the provider really did."""
