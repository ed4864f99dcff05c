"""What is written down or handed out so that nobody else can read it or make it up."""

import base64
import hashlib

from cryptography.fernet import Fernet


def cipher_of(secret_key: str, purpose: str) -> Fernet:
    """Return the cipher of one purpose: what is sealed for one opens for no other."""
    digest = hashlib.sha256(f"{purpose}:".encode() + secret_key.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
