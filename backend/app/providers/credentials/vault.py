"""Credentials at rest: sealed for one provider at one address, opened only for these.

Whoever can write to the database but not read our keys could else move a sealed credential to a provider of their
own and have it sent there. No error and no repr here holds a key.
"""

from collections.abc import Sequence

import orjson
from pydantic import SecretStr

from app.providers.credentials.secret_keys import KeyRing


class VaultLocked(Exception):
    """None of our keys opens it, or it was sealed for another provider or address."""


class Vault:
    """Seals and opens. Every method may read a file, or import the cipher: call it off the event loop."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._keys: Sequence[str] = ()

    def __repr__(self) -> str:
        return "Vault()"

    def seal(self, secret: SecretStr, *, provider_id: str, origin: str) -> str:
        """The keys are read anew: another process may have put a newer one first."""
        from app.providers.credentials import fernet  # noqa: PLC0415 - see there

        content = {"provider": provider_id, "origin": origin, "secret": secret.get_secret_value()}
        return fernet.encrypt(self._read_keys(), orjson.dumps(content))

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
        from app.providers.credentials import fernet  # noqa: PLC0415 - see there

        keys = self._read_keys()
        if fernet.decrypt(keys[:1], sealed) is not None:
            return None
        return fernet.encrypt(keys, self._decrypt(sealed))

    def _decrypt(self, sealed: str) -> bytes:
        """Once more with the keys read anew: they may have been rotated beside us."""
        from app.providers.credentials import fernet  # noqa: PLC0415 - see there

        content = fernet.decrypt(self._keys, sealed) if self._keys else None
        if content is None:
            content = fernet.decrypt(self._read_keys(), sealed)
        if content is None:
            raise VaultLocked
        return content

    def _read_keys(self) -> Sequence[str]:
        self._keys = self._ring.read()
        return self._keys
