"""A seeded fuzzer of the edge: HTTP, server-sent events and WebSocket, over raw sockets.

It knows the contract and nothing of the server's inside. `python -m tests.fuzzing --help`.
"""
