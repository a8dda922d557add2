"""How many queries a person may ask: a day, and at once; exact under parallel requests."""

from dataclasses import dataclass

from sqlalchemy import func, literal_column, select
from sqlalchemy.orm import Session

from app.accounts.user_model import User
from app.errors import ConcurrencyLimitExceeded
from app.queries.query_model import Query, QueryStatus
from app.spending.quotas import Counted, take_daily


@dataclass(frozen=True, slots=True)
class QueryQuota:
    """0 is no limit."""

    per_day: int = 0
    at_once: int = 0


UNLIMITED = QueryQuota()


def take(session: Session, user_id: str, quota: QueryQuota) -> None:
    """Count the query that this transaction has just made.

    Raises ConcurrencyLimitExceeded and DailyQuotaExceeded, which undo it.
    """
    take_daily(session, user_id, Counted.QUERIES, quota.per_day)
    if not quota.at_once:
        return
    # One at a time for each person on PostgreSQL; SQLite has one writer.
    session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    # A bound one would hide the partial index from the planner.
    running = Query.status == literal_column(f"'{QueryStatus.RUNNING}'")
    active = session.execute(select(func.count()).where(Query.user_id == user_id, running)).scalar_one() - 1
    if active >= quota.at_once:
        raise ConcurrencyLimitExceeded(limit=quota.at_once, active=active)
