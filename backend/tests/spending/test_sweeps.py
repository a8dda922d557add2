"""What is old goes, in batches; what is still needed stays; and no sum changes."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from app.analytics.usage import GroupBy, usage
from app.clock import utc_now
from app.config import Settings
from app.database import Base, Database
from app.items.item_model import IdempotencyKey, Item, ItemEvent
from app.llm.ledger.attempt_model import LLMAttempt
from app.queries.query_model import Query
from app.sweeps.retention import sweeps_of
from app.sweeps.sweeper import count_old, sweep_all
from tests.conftest import make_settings
from tests.spending.test_usage import ROWS, book
from tests.worker.vault import Vault

LONG_AGO = utc_now() - timedelta(days=100)
Count = Callable[[type[Base]], Awaitable[int]]


@pytest.fixture
def count(database: Database) -> Count:
    async def count(table: type[Base]) -> int:
        query = select(func.count()).select_from(table)
        return await database.read(lambda session: session.scalars(query).one())

    return count


@pytest.fixture
def keeping(database_url: str, tmp_path: Path) -> Settings:
    days = dict.fromkeys(
        ("keep_discarded_items_days", "keep_history_days", "keep_ledger_days", "keep_queries_days"), 30
    )
    return make_settings(database_url, tmp_path, **days)


async def sweep(database: Database, settings: Settings) -> dict[str, int]:
    return {**await sweep_all(database, sweeps_of(settings), pause_seconds=0)}


def _insert_key(session: Session, row: dict[str, object]) -> None:
    session.execute(insert(IdempotencyKey).values(row))


async def test_by_default_only_keys_of_requests_are_swept(
    database: Database, database_url: str, tmp_path: Path, vault: Vault, count: Count
) -> None:
    item_id = await vault.post()
    await vault.act(item_id, "discard")
    await vault.set(item_id, updated_at=LONG_AGO)
    user_id = (await vault.item(item_id)).user_id
    for key, at in (("old", LONG_AGO), ("new", utc_now())):
        row = {"user_id": user_id, "key": key, "body_hash": "x", "created_at": at}
        await database.write(partial(_insert_key, row=row))
    await book(database, *({**row, "started_at": LONG_AGO} for row in ROWS))
    gone = await sweep(database, make_settings(database_url, tmp_path))
    assert {name for name, rows in gone.items() if rows} == {"idempotency keys"}
    assert (await count(IdempotencyKey), await count(Item), await count(LLMAttempt)) == (1, 1, 5)


async def test_folding_the_ledger_changes_no_sum(database: Database, keeping: Settings, count: Count) -> None:
    await book(database, *({**row, "started_at": LONG_AGO} for row in ROWS * 60), *ROWS)
    since, until = LONG_AGO.date(), utc_now().date()

    async def report() -> list[object]:
        return [await database.read(partial(usage, by=by, since=since, until=until)) for by in GroupBy]

    before = await report()
    assert (await sweep(database, keeping))["ledger detail"] == 240
    assert await report() == before
    assert await count(LLMAttempt) == 60 + len(ROWS)  # those under way stay, however old


async def test_what_an_unfinished_item_cost_stays(
    database: Database, vault: Vault, keeping: Settings, count: Count
) -> None:
    item_id = await vault.post()
    await book(database, {**ROWS[0], "item_id": item_id, "started_at": LONG_AGO})
    assert (await sweep(database, keeping))["ledger detail"] == 0
    await vault.act(item_id, "discard")
    assert (await sweep(database, keeping))["ledger detail"] == 1


async def test_old_queries_go_when_they_have_ended(
    database: Database, vault: Vault, keeping: Settings, count: Count
) -> None:
    user_id = (await vault.item(await vault.post())).user_id
    ended, running, new = (
        Query(user_id=user_id, status=status, request={}, updated_at=at)
        for status, at in (("DONE", LONG_AGO), ("RUNNING", LONG_AGO), ("FAILED", utc_now()))
    )
    await database.write(lambda session: session.add_all([ended, running, new]))
    await book(database, *({**ROWS[0], "item_id": row.id, "started_at": LONG_AGO} for row in (ended, running)))
    gone = await sweep(database, keeping)
    assert (gone["questions and their answers"], gone["ledger detail"]) == (1, 1)
    assert await count(Query) == 2


async def test_nothing_of_the_running_month_is_folded(database: Database, keeping: Settings) -> None:
    brief = keeping.model_copy(update={"keep_ledger_days": 1})
    now = utc_now()
    first = now.replace(day=1, hour=0, minute=0, second=1)
    await book(database, {**ROWS[0], "started_at": first}, {**ROWS[0], "started_at": first - timedelta(days=2)})
    assert (await sweep(database, brief))["ledger detail"] == 1


async def test_old_discarded_items_and_old_history_go(
    database: Database, vault: Vault, keeping: Settings, count: Count
) -> None:
    old, new, open_one = [await vault.post() for _ in range(3)]
    for item_id in (old, new):
        await vault.act(item_id, "discard")
    await vault.set(old, updated_at=LONG_AGO)
    await database.write(lambda session: session.execute(update(ItemEvent).values(at=LONG_AGO)))
    would_go = await count_old(database, sweeps_of(keeping))
    assert (would_go["discarded items"], await count(Item)) == (1, 3)
    assert (await sweep(database, keeping))["discarded items"] == 1
    assert (await count(Item), await vault.actions(open_one), await vault.actions(new)) == (2, ["create"], [])


async def test_what_is_swept_costs_the_same(database: Database, keeping: Settings) -> None:
    await book(database, *({**ROWS[0], "started_at": LONG_AGO} for _ in range(450)))
    await sweep(database, keeping)
    day = LONG_AGO.date()
    (found,) = await database.read(lambda session: usage(session, GroupBy.DAY, since=day, until=day))
    assert (found.calls, found.cost_usd) == (450, Decimal("112.5"))
