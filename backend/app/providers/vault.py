"""Credentials at rest: sealed for one provider at one address, opened only for these.

Whoever can write to the database but not read our keys could else move a sealed credential to a provider of their
own and have it sent there. No error and no repr here holds a key.
"""

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from app.providers.secret_keys import KeyRing


class VaultLocked(Exception):
    """None of our keys opens it, or it was sealed for another provider or address."""


class Vault:
    """Seals and opens. Every method may read a file: call it off the event loop."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._opener: MultiFernet | None = None

    def seal(self, secret: SecretStr, *, provider_id: str, origin: str) -> str:
        """The keys are read anew: another process may have put a newer one first."""
        content = {"provider": provider_id, "origin": origin, "secret": secret.get_secret_value()}
        return self._read_keys().encrypt(orjson.dumps(content)).decode()

    def open(self, sealed: str, *, provider_id: str, origin: str) -> SecretStr:
        """Raises VaultLocked."""
        content = orjson.loads(self._decrypt(sealed))
        if (content["provider"], content["origin"]) != (provider_id, origin):
            raise VaultLocked
        return SecretStr(content["secret"])

    def advance(self) -> bool:
        """Put a new key first where the keys are ours; whether they are."""
        return self._ring.advance()

    def reseal(self, sealed: str) -> str | None:
        """The same under the first key; null when it is so already. Raises VaultLocked."""
        try:
            Fernet(self._ring.read()[0]).decrypt(sealed.encode())
        except InvalidToken:
            try:
                return self._read_keys().rotate(sealed.encode()).decode()
            except InvalidToken:
                raise VaultLocked from None
        return None

    def _decrypt(self, sealed: str) -> bytes:
        """Once more with the keys read anew: they may have been rotated beside us."""
        if self._opener is not None:
            try:
                return self._opener.decrypt(sealed.encode())
            except InvalidToken:
                pass
        try:
            return self._read_keys().decrypt(sealed.encode())
        except InvalidToken:
            raise VaultLocked from None

    def _read_keys(self) -> MultiFernet:
        self._opener = MultiFernet([Fernet(key) for key in self._ring.read()])
        return self._opener
