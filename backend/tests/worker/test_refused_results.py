"""A result that the database will not take, one row at a time."""

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from app.errors import ServiceUnavailable
from app.worker import cycle, lease
from app.worker.cycle import Ending, Settled
from app.worker.lane import Ended, Work
from tests.worker.vault import Vault

WORK = Work("an id", "a user", 1, 1, {"raw_text": "A note.", "text_hash": "a hash"})


def _refuse_with(monkeypatch: pytest.MonkeyPatch, kind: type[DBAPIError]) -> None:
    def refuse(*_: object) -> None:
        raise kind("UPDATE", {}, Exception())

    monkeypatch.setattr(lease, "finish", refuse)


async def _finish_alone(vault: Vault) -> list[Ended]:
    ending = Ending(WORK, Settled({"status": "READY_TO_CONFIRM"}))
    return await vault.database.write(lambda session: cycle._finish_alone(session, vault.lane(), ending))


async def test_a_row_that_takes_neither_its_result_nor_a_failure_is_left_to_its_lease(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse_with(monkeypatch, IntegrityError)
    assert await _finish_alone(vault) == []


async def test_a_database_that_goes_away_meanwhile_is_no_refusal(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse_with(monkeypatch, OperationalError)
    with pytest.raises(ServiceUnavailable):
        await _finish_alone(vault)
