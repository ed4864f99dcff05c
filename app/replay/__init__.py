"""`exchequer replay`: recorded LLM traffic, against a running server, to the micro-credit.

An outside client that happens to live in our tree: it knows GraphQL over HTTP and
WebSocket, and nothing of the domains. What it expects it reckons itself.
"""
