"""Fairness between users, stored as a rank at enqueue so that a claim stays one range of an index.

Start-time fair queueing: a new row is placed at the head of the queue or behind its owner's last row, whichever
is later. With nothing waiting, the rows in work tell how far the queue has come.
"""

from sqlalchemy import BindParameter, ColumnElement, ScalarSelect, Table, func, literal_column, select, text, union_all


def fair_rank(table: Table, working_status: str, user_id: str | BindParameter[str]) -> ScalarSelect[int]:
    """The rank for a row of `user_id` that is enqueued in this statement."""
    working = text(f"{table.name}.status = '{working_status}'")
    rank = table.c.rank
    waiting = select(rank).where(working, table.c.lease_owner.is_(None), table.c.not_before.is_(None))
    head = waiting.order_by(rank, table.c.created_at, table.c.id).limit(1).scalar_subquery()
    in_work = select(func.max(rank)).where(working, table.c.lease_owner.is_not(None)).scalar_subquery()
    own = select(rank).where(working, table.c.user_id == user_id).order_by(rank.desc()).limit(1).scalar_subquery()
    zero: ColumnElement[int] = literal_column("0")
    candidates = union_all(
        select(func.coalesce(head, in_work, zero).label("rank")), select(func.coalesce(own + 1, zero).label("rank"))
    ).subquery()
    return select(func.max(candidates.c.rank)).scalar_subquery()
