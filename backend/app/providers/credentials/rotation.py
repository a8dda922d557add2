"""Every credential anew under the first encryption key, while servers run.

Safe to repeat and to break off: a row is changed only if it still holds what was read, so a key that an admin sets
meanwhile stays. What is under the first key already is left alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.database import Database
from app.providers.credentials.vault import Vault, VaultLocked
from app.providers.provider_model import LLMProvider


@dataclass(slots=True)
class Rotation:
    """What was done; `unreadable` are the names of providers whose credential none of the keys opens."""

    total: int = 0
    resealed: int = 0
    unchanged: int = 0
    unreadable: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.resealed + self.unchanged + len(self.unreadable)


class _Sealed(NamedTuple):
    id: str
    name: str
    sealed: str


async def rotate(database: Database, vault: Vault, tell: Callable[[Rotation], None]) -> Rotation:
    """A new first key where the keys are ours to make, then every credential under it; `tell` after each."""
    rows = await database.read(_sealed_rows)
    rotation = Rotation(total=len(rows))
    if rows:
        vault.advance()
        # Read again: what was sealed between the two readings is under the new key or found here.
        rows = await database.read(_sealed_rows)
        rotation.total = len(rows)
    for row in rows:
        await _rotate_row(database, vault, row, rotation)
        tell(rotation)
    return rotation


async def _rotate_row(database: Database, vault: Vault, row: _Sealed, rotation: Rotation) -> None:
    try:
        resealed = vault.reseal(row.sealed)
    except VaultLocked:
        rotation.unreadable.append(row.name)
        return
    if resealed is None:
        rotation.unchanged += 1
        return
    await database.write(lambda session: _replace(session, row, resealed))
    rotation.resealed += 1


def _sealed_rows(session: Session) -> list[_Sealed]:
    query = select(LLMProvider.id, LLMProvider.name, LLMProvider.sealed_key).order_by(LLMProvider.name)
    rows = session.execute(query.where(LLMProvider.sealed_key.is_not(None)))
    return [_Sealed(found, name, sealed) for found, name, sealed in rows if sealed is not None]


def _replace(session: Session, row: _Sealed, resealed: str) -> None:
    """Nothing a client sees changes, so the version stays; a row changed meanwhile was sealed anew by that change."""
    still = (LLMProvider.id == row.id, LLMProvider.sealed_key == row.sealed)
    session.execute(update(LLMProvider).where(*still).values(sealed_key=resealed))
