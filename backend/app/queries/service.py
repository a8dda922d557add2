"""What a person does with queries: one function a use case, each inside the caller's transaction."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import orjson
from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.announcements import news_of
from app.clock import utc_now
from app.database import new_id
from app.errors import DuplicateRequest, NotFound
from app.llm.attempts import AttemptOutcome
from app.llm.ledger.attempt_model import LLMAttempt
from app.queries.asking import attempt_of, in_vain, with_lost
from app.queries.query_model import Query, QueryStatus
from app.queries.quota import UNLIMITED, QueryQuota, take
from app.queries.schemas import AttemptOut, QueryRequest
from app.worker.fairness import fair_rank
from app.worker.lane import Work

_IDEMPOTENCY_HOURS = 24
_QUERIES = cast("Table", Query.__table__)
_RANK = fair_rank(_QUERIES, QueryStatus.RUNNING, bindparam("owner_id", type_=_QUERIES.c.user_id.type))
# Built once: to put them together took longer than to run them, on the one thread that writes.
_INSERTS = {
    dialect.dialect.name: dialect.insert(_QUERIES).values(rank=_RANK).on_conflict_do_nothing().returning(_QUERIES.c.id)
    for dialect in (sqlite, postgresql)
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The query of a request; `replayed` when an earlier request with this key had made it."""

    id: str
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key and the body that came with it: what was asked, not what it came to mean meanwhile."""

    key: str
    body_hash: str

    @classmethod
    def of(cls, key: str | None, body: QueryRequest) -> "Once | None":
        if key is None:
            return None
        return cls(key, hashlib.sha256(orjson.dumps(_stored(body), option=orjson.OPT_SORT_KEYS)).hexdigest())


def enqueue(
    session: Session, user_id: str, request: QueryRequest, once: Once | None = None, *, quota: QueryQuota = UNLIMITED
) -> Asked:
    """A query that the lane will take up. Raises DuplicateRequest for a reused key, and what `quota.take` raises."""
    columns = {**_new(user_id), "request": _stored(request)}
    if once is not None:
        _forget_old_key(session, user_id, once.key)
        columns.update(idempotency_key=once.key, body_hash=once.body_hash)
    made = _insert(session, columns)
    if not made:
        assert once is not None  # noqa: S101 - nothing else can be there already
        found = session.execute(
            select(Query.id, Query.body_hash).where(Query.user_id == user_id, Query.idempotency_key == once.key)
        ).one()
        if found.body_hash != once.body_hash:
            raise DuplicateRequest
        return Asked(found.id, replayed=True)
    take(session, user_id, quota)
    news_of(session).ready_in.add(_QUERIES.name)
    return Asked(columns["id"])


def begin_leased(
    session: Session,
    user_id: str,
    request: dict[str, Any],
    *,
    owner: str,
    lease_seconds: float,
    quota: QueryQuota = UNLIMITED,
) -> Work:
    """A row whose work is done by the request that made it; see Query. Raises what `quota.take` raises."""
    lease = {"lease_owner": owner, "lease_until": utc_now() + timedelta(seconds=lease_seconds), "claim_seq": 1}
    columns = {**_new(user_id), **lease, "request": request}
    _insert(session, columns)
    take(session, user_id, quota)
    return Work(columns["id"], user_id, 1, 0, {})


def own_query(session: Session, user_id: str, query_id: str) -> Query:
    """Raises NotFound, for another person's as for none."""
    query = session.scalar(select(Query).where(Query.id == query_id, Query.user_id == user_id))
    if query is None:
        raise NotFound("There is no query with this id.")
    return query


def finished_query(session: Session, user_id: str, query_id: str) -> Query:
    """With all of its attempts in the receipt: of runs that died and of failures too, which only the books know.

    Raises NotFound.
    """
    query = own_query(session, user_id, query_id)
    if query.status == QueryStatus.FAILED:
        session.expunge(query)
        query.receipt = {**(query.receipt or {}), **in_vain(_attempts(session, query_id))}
    elif query.deaths and query.answer is not None and query.receipt is not None:
        session.expunge(query)
        query.receipt = with_lost(query.receipt, _attempts(session, query_id, are_lost=True))
    return query


def _attempts(session: Session, query_id: str, *, are_lost: bool = False) -> list[AttemptOut]:
    """Oldest first; `are_lost`: of every run but the last."""
    rows = session.scalars(select(LLMAttempt).where(LLMAttempt.item_id == query_id).order_by(LLMAttempt.id)).all()
    last_run = max((row.claim_seq for row in rows), default=0)
    called = [row for row in rows if row.outcome != AttemptOutcome.UNUSED]
    return [attempt_of(row) for row in called if not are_lost or row.claim_seq < last_run]


def cancel(session: Session, user_id: str, query_id: str) -> None:
    """One that has ended stays as it is; safe to repeat. Raises NotFound."""
    changed = session.execute(
        update(Query)
        .where(Query.id == query_id, Query.user_id == user_id, Query.status == QueryStatus.RUNNING)
        .values(
            status=QueryStatus.CANCELLED,
            claim_seq=Query.claim_seq + 1,
            lease_owner=None,
            lease_until=None,
            not_before=None,
            updated_at=utc_now(),
        )
        .returning(Query.id)
    ).first()
    if changed is None:
        own_query(session, user_id, query_id)
        return
    news = news_of(session)
    news.stopped.add(query_id)
    news.ended.add(query_id)


def _stored(request: QueryRequest) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude={"wait_seconds"})


def _new(user_id: str) -> dict[str, Any]:
    now = utc_now()
    return {"id": new_id(), "user_id": user_id, "status": QueryStatus.RUNNING, "created_at": now, "updated_at": now}


def _insert(session: Session, columns: dict[str, Any]) -> bool:
    """False where the key is taken."""
    statement = _INSERTS[session.get_bind().dialect.name]
    return session.connection().execute(statement, {**columns, "owner_id": columns["user_id"]}).first() is not None


def _forget_old_key(session: Session, user_id: str, key: str) -> None:
    before = utc_now() - timedelta(hours=_IDEMPOTENCY_HOURS)
    session.execute(
        update(Query)
        .where(Query.user_id == user_id, Query.idempotency_key == key, Query.created_at < before)
        .values(idempotency_key=None)
    )
