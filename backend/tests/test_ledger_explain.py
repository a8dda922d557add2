"""Queries, the ledger, budgets, quotas, the cache and the sweeps find their rows by an index, on both engines."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from app.accounts.identity import Identity
from app.analytics.usage import GroupBy, usage
from app.clock import utc_now
from app.config import Settings
from app.database import Database, first_id, new_id
from app.errors import DailyQuotaExceeded
from app.items.item_model import IdempotencyKey, Item, ItemEvent
from app.llm import cache
from app.llm.attempts import Attempt, AttemptOutcome, Purpose, Usage
from app.llm.cache_model import CachedAnswer
from app.llm.ledger import direct_books
from app.llm.ledger import statements as ledger
from app.llm.ledger.attempt_model import LLMAttempt
from app.llm.traffic.shared.traffic_model import LLMGate, LLMShare
from app.migrations import migrate
from app.queries import quota, service, waiting
from app.queries.asking import Asker
from app.queries.lane import QueryLane
from app.queries.query_model import Query
from app.queries.quota import LiveChat
from app.queries.schemas import QueryRequest
from app.spending import counters
from app.spending.budget import EACH, Budget, Period, Scope, Spender
from app.spending.budget_model import LLMBudget, LLMSpend, LLMUsageDay, SpendingAlert
from app.spending.counters import Reservation
from app.spending.quotas import Counted, QuotaCount, take_daily
from app.spending.service import WaitingRows, replace_budgets
from app.sweeps import sweep as sweeping
from app.sweeps.retention import sweeps_of
from app.worker import lease
from tests.conftest import make_settings
from tests.engines import fresh_database
from tests.test_queries_explain import plans_of

ROWS, PEOPLE = 2000, 20
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
Run = Callable[[Session, str, str], Any]
LANE = QueryLane(Asker(None, None, None, deadline_seconds=9), 4)  # type: ignore[arg-type]  # for its table alone
ASKED = QueryRequest.model_validate({"messages": [{"role": "user", "content": "?"}]})
BUDGETS = [Budget(Scope.SYSTEM, "", Period.MONTH, Decimal(9)), Budget(Scope.USER, EACH, Period.DAY, Decimal(9))]


def _finish(session: Session, _user: str, query: str) -> None:
    row: dict[str, Any] = {**dict.fromkeys(LANE.work_table.results), "status": "FAILED"}
    lease.finish(session, LANE.work_table, [{**row, "id": query, "claim_seq": 1}])


def _use_up_a_quota(session: Session, user: str, _query: str) -> None:
    take_daily(session, user, Counted.QUERIES, 1)
    with pytest.raises(DailyQuotaExceeded):
        take_daily(session, user, Counted.QUERIES, 1)


def _settle(session: Session, user: str, _query: str) -> None:
    attempt = Attempt("p", "m", Purpose(most_usd=Decimal(1)))
    attempt.settle(AttemptOutcome.OK, usage=Usage(1, 1, Decimal(0), Decimal(0)))
    ledger.settle(session, [attempt])
    counters.reserve(session, [Reservation("x", Spender(user, None, utc_now()), Decimal(0))])
    counters.settle(session, [(Spender(user, None, utc_now()), Decimal(1))])


# By which indexes, in the words of either engine.
PK_QUERIES, PK_LEDGER = "sqlite_autoindex_queries_1|pk_queries", "sqlite_autoindex_llm_attempts_1|pk_llm_attempts"
STATEMENTS: dict[str, tuple[list[str], Run]] = {
    "a query of one's own": ([PK_QUERIES], service.own_query),
    "a query is cancelled": ([PK_QUERIES], service.cancel),
    "a query is asked": (
        ["ix_queries_ready", "ix_queries_user_rank", "sqlite_autoindex_queries_2|uq_queries_user_id"],
        lambda s, user, _: service.enqueue(s, user, ASKED, service.Once("k", "x"), quota=quota.QueryQuota(9, 9999)),
    ),
    "how many run": (
        ["ix_queries_user_rank", "ix_live_chats"],
        lambda s, user, _: quota.take(s, user, quota.QueryQuota(0, 9999)),
    ),
    "who waits looks": ([PK_QUERIES], lambda s, _user, query: waiting._running(s, [query])),
    "claim": (
        ["ix_queries_ready"],
        lambda s, *_: lease.claim(s, LANE.work_table, owner="me", lease_seconds=9, limit=2),
    ),
    "promote": (["ix_queries_waiting"], lambda s, *_: lease.promote_due(s, LANE.work_table)),
    "reclaim": (["ix_queries_leased"], lambda s, *_: lease.reclaim(s, LANE.work_table)),
    "reclaim all": (["ix_queries_leased"], lambda s, *_: lease.reclaim(s, LANE.work_table, everything=True)),
    "look": (["ix_queries_ready", "ix_queries_waiting"], lambda s, *_: lease.look(s, LANE.work_table)),
    "when is the next": (
        ["ix_queries_waiting", "ix_queries_leased"],
        lambda s, *_: lease.seconds_until_due(s, LANE.work_table),
    ),
    "beat": ([PK_QUERIES], lambda s, _, query: lease.beat(s, LANE.work_table, [(query, 1)], lease_seconds=9)),
    "finish": ([PK_QUERIES], _finish),
    "doubt": (["ix_llm_attempts_open|ix_llm_attempts_item"], lambda s, _, query: ledger.doubt(s, [query])),
    "orphans": (["ix_llm_attempts_open"], lambda s, *_: ledger.doubt_orphans(s, "queries")),
    "expired calls": (["ix_llm_attempts_expiring|ix_llm_attempts_open"], lambda s, *_: direct_books.doubt_expired(s)),
    "settle": ([PK_LEDGER, "sqlite_autoindex_llm_spend_1|pk_llm_spend"], _settle),
    "budgets": (
        [PK_LEDGER, "ix_queries_waiting"],
        lambda s, *_: replace_budgets(s, BUDGETS, [WaitingRows("queries", "RUNNING")]),
    ),
    "usage of all": (
        [PK_LEDGER, "ix_llm_usage_days_day"],
        lambda s, *_: usage(s, GroupBy.MODEL, since=LONG_AGO.date(), until=LONG_AGO.date()),
    ),
    "usage of one": (
        [PK_LEDGER, "ix_llm_usage_days_day"],
        lambda s, user, _: usage(s, GroupBy.DAY, since=LONG_AGO.date(), until=LONG_AGO.date(), user_id=user),
    ),
    "a quota": (
        ["sqlite_autoindex_quota_counts_1|pk_quota_counts"],
        _use_up_a_quota,
    ),
    "a kept answer": (["sqlite_autoindex_llm_cache_1|pk_llm_cache"], lambda s, *_: cache._read(s, key="5")),
    "kept answers anew": (
        ["sqlite_autoindex_llm_cache_1|pk_llm_cache"],
        lambda s, *_: cache._replace(s, rows=[_answer("5"), _answer("new")]),
    ),
    "expired answers": (["ix_llm_cache_expires_at"], lambda s, *_: cache.forget_expired(s)),
}
SWEEPS = {
    "idempotency keys": "ix_idempotency_keys_created_at",
    "discarded items": "ix_items_discarded",
    "history of items that are confirmed or discarded": "ix_item_events_at",
    "ledger detail": PK_LEDGER,
    "questions and their answers": "ix_queries_ended",
    "counters of past periods": "ix_llm_spend_period_start",
    "counts of past days": "ix_quota_counts_day_start",
    "gates that nobody calls any more": "ix_llm_gates_opens_at",
    "shares of processes that ended": "ix_llm_shares_valid_until",
    "chats whose process died": "ix_live_chats_expires_at",
    "alerts that were told": "ix_spending_alerts_told_at",
}
TABLES = (
    "items|item_events|idempotency_keys|queries|llm_attempts|llm_spend|llm_usage_days|llm_cache|quota_counts"
    "|spending_alerts|llm_gates|llm_shares|live_chats"
)


def _answer(key: str) -> dict[str, Any]:
    now = utc_now()
    values = {"task": "t", "provider": "p", "model": "m", "answer": "{}", "coverage": 1.0, "tokens": 1}
    return {**values, "key": key, "created_at": now, "expires_at": now + timedelta(days=1)}


def _work(number: int) -> dict[str, Any]:
    """Of those that run some are at work, and some wait for their time."""
    is_leased, has_to_wait = number % 32 == 0, number % 32 == 4
    lease = {"lease_owner": "x" if is_leased else None, "lease_until": utc_now() if is_leased else None}
    return {**lease, "attempt": 1, "not_before": utc_now() if has_to_wait else None}


def fill(session: Session, users: list[str]) -> str:
    """Many rows of everything, a few of them old. Returns a query of the first person."""
    now = utc_now()
    each = [(n, users[n % PEOPLE], LONG_AGO if n % 101 == 0 else now) for n in range(ROWS)]
    work = {"raw_text": "x", "text_hash": "x", "enrichment_mode": "AI", "suggestions": [], "search_text": "x"}
    statuses, states = ("ENRICHING", "ARCHIVED", "ARCHIVED", "DISCARDED"), ("RUNNING", "DONE", "DONE", "FAILED")
    items: list[dict[str, Any]] = [
        {**work, "id": new_id(), "user_id": user, "status": statuses[n % 4], "created_at": at, "updated_at": at}
        for n, user, at in each
    ]
    queries: list[dict[str, Any]] = [
        {"id": new_id(), "user_id": user, "status": states[n % 4], "request": {}, "updated_at": at, **_work(n)}
        for n, user, at in each
    ]
    call = {"lane": "l", "claim_seq": 1, "provider": "p", "model": "m", "outcome": "OK"}
    attempts = [
        {**call, "id": f"{first_id(at)}-{n:08}", "item_id": queries[n]["id"], "user_id": user, "started_at": at}
        for n, user, at in each
    ]
    events = {"action": "create", "actor": "person", "status": "ARCHIVED"}
    subject = {"scope": "user", "period": "day"}
    gate = {"provider": "p", "code": "LLM_AUTH", "wait_seconds": 30}
    share = {"provider": "p", "unit": "requests", **dict.fromkeys(("share", "used", "waiting", "head"), 1)}
    tables: dict[Any, list[dict[str, Any]]] = {
        Item: items,
        Query: queries,
        LLMAttempt: attempts,
        ItemEvent: [{**events, "item_id": items[n]["id"], "user_id": user, "at": at} for n, user, at in each],
        IdempotencyKey: [{"user_id": u, "key": str(n), "body_hash": "x", "created_at": at} for n, u, at in each],
        CachedAnswer: [{**_answer(str(n)), "expires_at": at + timedelta(hours=1)} for n, _, at in each],
        LLMGate: [{**gate, "scope": str(n), "opens_at": at} for n, _, at in each],
        LLMShare: [{**share, "process_id": str(n), "valid_until": at} for n, _, at in each],
        QuotaCount: [{"user_id": f"{n}{u}"[:36], "kind": "queries", "day_start": at, "used": 1} for n, u, at in each],
        LiveChat: [{"id": new_id(), "user_id": user, "expires_at": at} for _, user, at in each],
        LLMSpend: [{**subject, "key": str(n), "subject": u, "period_start": at, "spent_usd": 0} for n, u, at in each],
        SpendingAlert: [
            {**subject, "subject": u, "period_start": at, "percent": 1, "spent_usd": 1, "limit_usd": 1, "told_at": at}
            for _, u, at in each
        ],
        LLMUsageDay: [
            {
                **dict.fromkeys(("calls", "cached", "unknown_costs", "input_tokens", "output_tokens"), 1),
                "cost_usd": 1,
                "unknown_tokens": 0,
                "provider": "p",
                "model": "m",
                "day": f"{at + timedelta(days=n):%Y-%m-%d}",
                "user_id": user,
            }
            for n, user, at in each
        ],
    }
    for table, rows in tables.items():
        session.execute(insert(table), rows)
    session.execute(insert(LLMBudget), {**subject, "subject": EACH, "limit_usd": Decimal(9), "is_hard": True})
    session.execute(text("ANALYZE"))
    return str(queries[0]["id"])


Filled = tuple[str, str, str]


@pytest.fixture(scope="module")
def filled() -> Iterator[Filled]:
    """A database that all tests here share, a person and a query of theirs."""
    for url in fresh_database(migrate):
        yield url, *asyncio.run(_filled(url))


async def _filled(url: str) -> tuple[str, str]:
    database = Database(url)
    await database.start()
    identity = Identity(database, dev_auth=True)
    users = [await identity.user_id_of(f"user {n}") for n in range(PEOPLE)]
    query_id = await database.write(lambda session: fill(session, users))
    await database.close()
    return users[0], query_id


@pytest.fixture
async def database(filled: Filled) -> AsyncIterator[Database]:
    database = Database(filled[0])
    await database.start()
    yield database
    await database.close()


class _Undo(Exception):
    """Undoes a transaction."""


async def plans(database: Database, run: Callable[[Session], object]) -> str:
    """Of every statement of `run`, which leaves nothing behind."""
    found = ""

    def look(session: Session) -> None:
        nonlocal found
        found = plans_of(session, run)
        raise _Undo

    with pytest.raises(_Undo):
        await database.write(look)
    return found


def check(plans: str, indexes: list[str], tables: str = TABLES) -> None:
    for index in indexes:
        assert re.search(index, plans), (index, plans)
    assert not re.search(rf"SCAN ({tables})\b(?! USING)", plans), plans
    assert not re.search(rf"'Seq Scan'[^}}]*'Relation Name': '({tables})'", plans), plans


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_uses_its_index(database: Database, filled: Filled, name: str) -> None:
    _, user, query_id = filled
    indexes, run = STATEMENTS[name]
    # A change of the budgets makes all counters anew.
    tables = TABLES.replace("|llm_spend", "") if name == "budgets" else TABLES
    check(await plans(database, lambda session: run(session, user, query_id)), indexes, tables)


@pytest.mark.parametrize("name", SWEEPS)
async def test_a_sweep_finds_and_removes_by_an_index(
    database: Database, filled: Filled, name: str, tmp_path: Path
) -> None:
    days = {name: 30 for name in Settings.model_fields if name.startswith("keep_")}
    settings = make_settings(filled[0], tmp_path, **days)
    [sweep] = [entry for entry in sweeps_of(settings) if entry.name == name]
    before, removed = LONG_AGO + timedelta(days=1), []

    def run(session: Session) -> None:
        keys = sweeping.find(session, sweep, before, 5)
        removed.append(sweeping.remove(session, sweep, keys, before))

    check(await plans(database, run), [SWEEPS[name]])
    assert removed == [5]


def test_every_sweep_is_looked_at(tmp_path: Path) -> None:
    days = {name: 30 for name in Settings.model_fields if name.startswith("keep_")}
    assert [entry.name for entry in sweeps_of(make_settings("sqlite:///x", tmp_path, **days))] == list(SWEEPS)
