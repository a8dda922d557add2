"""What is swept, and how long each is kept. A feature with rows that grow old adds its own here."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.analytics.usage import OF_AN_ATTEMPT, SUMS, day_of
from app.config import Settings
from app.database import new_id
from app.spending.budget import Period
from app.sweeps.sweep import Sweep, binds, chosen, delete_keys

_PENDING = "('ENRICHING', 'READY_TO_CONFIRM', 'FAILED')"
_SPEND_DAYS = 62
_TRAFFIC_DAYS = 2
_GROUP = ("user_id", "api_key_id", "provider", "model", "task", "prompt_id", "prompt_version")


def sweeps_of(settings: Settings) -> list[Sweep]:
    """Those that are switched on."""
    found = [
        Sweep(
            "idempotency keys", "idempotency_keys", "created_at < :before", settings.keep_idempotency_keys_days, "key"
        ),
        Sweep(
            "discarded items",
            "items",
            "status = 'DISCARDED' AND updated_at < :before",
            settings.keep_discarded_items_days,
        ),
        Sweep(
            "history of items that are confirmed or discarded",
            "item_events",
            "at < :before AND NOT EXISTS"  # noqa: S608 - our own names
            f" (SELECT 1 FROM items WHERE items.id = item_events.item_id AND items.status IN {_PENDING})",
            settings.keep_history_days,
            "seq",
            "bigint",
        ),
        Sweep(
            "ledger detail",
            "llm_attempts",
            "llm_attempts.id < :before_id AND started_at < :before AND outcome IS NOT NULL"  # noqa: S608 - our own names
            " AND NOT EXISTS"
            f" (SELECT 1 FROM items WHERE items.id = llm_attempts.item_id AND items.status IN {_PENDING})"
            " AND NOT EXISTS"
            " (SELECT 1 FROM queries WHERE queries.id = llm_attempts.item_id AND queries.status = 'RUNNING')",
            settings.keep_ledger_days,
            remove=_fold,
        ),
        Sweep(
            "questions and their answers",
            "queries",
            "status <> 'RUNNING' AND updated_at < :before",
            settings.keep_queries_days,
        ),
        Sweep("counters of past periods", "llm_spend", "period_start < :before", _SPEND_DAYS, "key"),
        Sweep("counts of past days", "quota_counts", "day_start < :before", _SPEND_DAYS, "user_id"),
        Sweep("gates that nobody calls any more", "llm_gates", "opens_at < :before", _TRAFFIC_DAYS, "scope"),
        Sweep("shares of processes that ended", "llm_shares", "valid_until < :before", _TRAFFIC_DAYS, "process_id"),
        Sweep("chats whose process died", "live_chats", "expires_at < :before", 1),
        Sweep("alerts that were told", "spending_alerts", "told_at < :before", _SPEND_DAYS),
    ]
    return [sweep for sweep in found if sweep.days]


def cutoff(sweep: Sweep, now: datetime) -> datetime:
    """What is older goes. Of the ledger nothing of the running month: budgets are counted from it."""
    oldest = datetime.fromtimestamp(now.timestamp() - sweep.days * 86_400, tz=now.tzinfo)
    return min(oldest, Period.MONTH.start(now)) if sweep.table == "llm_attempts" else oldest


def _fold(sweep: Sweep, session: Session, keys: Sequence[str], before: datetime) -> int:
    """Into sums of a day each, in the transaction that deletes the rows: no report changes."""
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    day = day_of("started_at", on_sqlite=on_sqlite)
    sums = ", ".join(f"SUM({sql}) AS {name}" for name, sql in OF_AN_ATTEMPT.items())
    rows = session.execute(
        text(
            f"SELECT {day} AS day, {', '.join(_GROUP)}, {sums} FROM llm_attempts"  # noqa: S608 - our own names
            f" WHERE {chosen(session, sweep)} GROUP BY {day}, {', '.join(_GROUP)}"
        ),
        binds(session, keys, before),
    ).mappings()
    folded = [{"id": new_id(), **row, **{name: int(row[name]) for name in SUMS}} for row in rows]
    names = ("id", "day", *_GROUP, *SUMS)
    if folded:
        values = ", ".join(f":{name}" for name in names)
        session.execute(text(f"INSERT INTO llm_usage_days ({', '.join(names)}) VALUES ({values})"), folded)  # noqa: S608
    return delete_keys(session, sweep, keys, before)
