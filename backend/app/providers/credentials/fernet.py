"""The cipher: Fernet under several keys, the first encrypts. Alone imports cryptography.

It takes 6 MB, so whoever needs it imports this module late: a process that never meets a credential does without.
"""

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


def make_key() -> str:
    return Fernet.generate_key().decode()


def encrypt(keys: Sequence[str], content: bytes) -> str:
    return _all(keys).encrypt(content).decode()


def decrypt(keys: Sequence[str], token: str) -> bytes | None:
    """Null when none of the keys opens it."""
    if not keys:
        return None
    try:
        return _all(keys).decrypt(token.encode())
    except InvalidToken:
        return None


def _all(keys: Sequence[str]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
