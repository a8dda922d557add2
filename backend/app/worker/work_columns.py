"""The columns that make a row its own job; a table that can be worked has this mixin.

`claim_seq` is the fence: it grows by one with every transition of the row (claim, finish, fail, defer, release,
reclaim, discard, retry, edit) and is never reset, so a write that names an old value changes nothing.
"""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import UtcDateTime


class WorkColumns:
    """Who works the row until when, when it may be tried, how often it was.

    `wait_code` is the error that made it wait; it says nothing of a row that does not.
    """

    claim_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    lease_owner: Mapped[str | None] = mapped_column(String(36))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime)
    wait_code: Mapped[str | None] = mapped_column(String(40))
    attempt: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    deaths: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    rank: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))


def work_indexes(table: str, working_status: str) -> tuple[Index, ...]:
    """The four partial indexes of a worked table.

    The status stands in them as a literal, and must in the statements too: with a bound status PostgreSQL's
    generic plan cannot use a partial index.
    """
    working = f"status = '{working_status}'"

    def partial(name: str, columns: list[str], condition: str) -> Index:
        where = text(condition)
        return Index(f"ix_{table}_{name}", *columns, sqlite_where=where, postgresql_where=where)

    return (
        partial("ready", ["rank", "created_at", "id"], f"{working} AND lease_owner IS NULL AND not_before IS NULL"),
        partial("waiting", ["not_before"], f"{working} AND lease_owner IS NULL AND not_before IS NOT NULL"),
        partial("user_rank", ["user_id", "rank"], working),
        partial("leased", ["lease_until"], f"{working} AND lease_owner IS NOT NULL"),
    )
