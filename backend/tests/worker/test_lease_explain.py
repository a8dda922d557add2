"""Every statement of the protocol finds its rows by an index: with a million waiting, a claim must cost what it costs
with ten.

The statements are taken as they are sent, and explained with the values that they were sent with.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from app.items.item import ItemStatus
from app.items.item_model import Item
from app.llm.attempts import Attempt, AttemptOutcome
from app.llm.ledger import statements as ledger
from app.worker import lease
from app.worker.fairness import fair_rank
from tests.worker.vault import Vault

TABLE = Item.metadata.tables["items"]
Statement = tuple[str, Any]


def _claim(s: Session, vault: Vault) -> None:
    lease.claim(s, vault.lane().work_table, owner=vault.database.process_id, lease_seconds=30, limit=2)


def _promote(s: Session, vault: Vault) -> None:
    lease.promote_due(s, vault.lane().work_table)


def _reclaim(s: Session, vault: Vault) -> None:
    lease.reclaim(s, vault.lane().work_table)


def _due(s: Session, vault: Vault) -> None:
    lease.seconds_until_due(s, vault.lane().work_table)


def _look(s: Session, vault: Vault) -> None:
    lease.look(s, vault.lane().work_table)


def _beat(s: Session, vault: Vault) -> None:
    lease.beat(s, vault.lane().work_table, [("an id", 1)], lease_seconds=30)


def _finish(s: Session, vault: Vault) -> None:
    lane = vault.lane()
    row: dict[str, Any] = {**dict.fromkeys(lane.work_table.results), "status": "FAILED", "suggestions": []}
    lease.finish(s, lane.work_table, [{**row, "id": "an id", "claim_seq": 1}])


def _rank(s: Session, vault: Vault) -> None:
    s.execute(select(fair_rank(TABLE, ItemStatus.ENRICHING, "a user")))


def _doubt(s: Session, vault: Vault) -> None:
    ledger.doubt(s, ["an id"])


def _settle(s: Session, vault: Vault) -> None:
    attempt = Attempt(provider="p", model="m")
    attempt.settle(AttemptOutcome.OK)
    ledger.settle(s, [attempt])


@pytest.mark.parametrize(
    ("run", "indexes"),
    [
        (_claim, ["ix_items_ready"]),
        (_promote, ["ix_items_waiting"]),
        (_reclaim, ["ix_items_leased"]),
        (_due, ["ix_items_waiting", "ix_items_leased"]),
        (_look, ["ix_items_ready", "ix_llm_attempts_open", "ix_items_waiting", "ix_items_leased"]),
        (_beat, ["items_1|pk_items"]),
        (_finish, ["items_1|pk_items"]),
        (_rank, ["ix_items_ready", "ix_items_leased", "ix_items_user_rank"]),
        (_doubt, ["ix_llm_attempts_item|ix_llm_attempts_open"]),
        (_settle, ["llm_attempts_1|pk_llm_attempts"]),
    ],
)
async def test_a_statement_uses_its_index(
    vault: Vault, run: Callable[[Session, Vault], None], indexes: list[str]
) -> None:
    await vault.post()
    plan = await vault.database.write(partial(_explained, run=lambda session: run(session, vault)))
    for alternatives in indexes:
        assert any(name in plan for name in alternatives.split("|")), plan
    assert "SCAN items" not in plan.replace("SCAN items USING INDEX", "").replace("SCAN items USING COVERING INDEX", "")
    assert "Seq Scan on items" not in plan


def _explained(session: Session, run: Callable[[Session], None]) -> str:
    """The plans of what `run` sends, one after the other."""
    connection = session.connection()
    sent: list[Statement] = []
    on_postgres = connection.dialect.name == "postgresql"
    if on_postgres:
        # So few rows are read through whole in any case; without that choice the index is used, or cannot be.
        session.execute(text("SET LOCAL enable_seqscan = off"))

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    run(session)
    event.remove(connection, "before_cursor_execute", note)
    explain = "EXPLAIN" if on_postgres else "EXPLAIN QUERY PLAN"
    lines = [
        str(row[0 if on_postgres else 3])
        for statement, parameters in sent
        for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)
    ]
    return "\n".join(lines)
