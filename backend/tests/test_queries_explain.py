"""Each listed query walks an index, on both engines: told by the planner on a table that is large enough to ask."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.orm import Session

from app.accounts.identity import Identity
from app.clock import utc_now
from app.database import Database, new_id
from app.items import queries, tag_service
from app.items.item_model import Item, ItemEvent, ItemTag, Tag
from app.items.tag_service import TagSort

ROWS = 3000
PLACE = ("2026-01-01T00:00:00+00:00", "x")
Query = Callable[[Session, str, str], Any]


def _cursor(session: Session, user: str) -> str:
    page = queries.library_page(session, user, words="", tag="", cursor=None, limit=1)
    return str(page.cursor)


QUERIES: dict[str, tuple[str, Query]] = {
    "pending": ("ix_items_pending", lambda s, user, _: queries.pending_items(s, user, 20)),
    "library": (
        "ix_items_library",
        lambda s, user, _: queries.library_page(s, user, words="", tag="", cursor=None, limit=20),
    ),
    "next page": (
        "ix_items_library",
        lambda s, user, _: queries.library_page(s, user, words="", tag="", cursor=_cursor(s, user), limit=20),
    ),
    "tag": (
        "uq_tags_user_id|sqlite_autoindex_tags",
        lambda s, user, _: queries.search_page(s, user, words="#rare", cursor=None, limit=20),
    ),
    "tagged items": (
        "ix_item_tags_tag",
        lambda s, user, _: queries.search_page(s, user, words="#rare", cursor=None, limit=20),
    ),
    "words": (
        "ix_items_library",
        lambda s, user, _: queries.search_page(s, user, words="needle", cursor=None, limit=20),
    ),
    "events": ("ix_item_events_user", lambda s, user, _: queries.events_after(s, user, (0, 5), 20)),
    "newest event": ("ix_item_events_user", lambda s, user, _: queries.newest_event(s, user)),
    "history": ("ix_item_events_item", lambda s, user, item: queries.history_of(s, queries.own_item(s, user, item))),
    "vocabulary": (
        "uq_tags_user_id|sqlite_autoindex_tags",
        lambda s, user, _: tag_service.list_tags(s, user, words="", sort=TagSort.NAME, only_unused=False, limit=20),
    ),
}


def fill(session: Session, users: list[str]) -> str:
    """Many items of many people; one tag of the first person is rare. Returns an item of the first person."""
    now = utc_now()
    status = ("READY_TO_CONFIRM", "ARCHIVED", "DISCARDED")
    items = [
        {
            "id": new_id(),
            "user_id": users[n % len(users)],
            "raw_text": "x",
            "text_hash": "x",
            "status": status[n % 3],
            "enrichment_mode": "AI",
            "suggestions": [],
            "search_text": "x",
            "created_at": now,
            "updated_at": now,
            "confirmed_at": now,
        }
        for n in range(ROWS)
    ]
    tags = [
        {"id": new_id(), "user_id": user, "name": name, "name_key": name, "created_at": now, "updated_at": now}
        for user in users
        for name in ("rare", *(f"tag {n}" for n in range(60)))
    ]
    session.execute(insert(Item), items)
    session.execute(insert(Tag), tags)
    session.execute(
        insert(ItemTag), [{"item_id": item["id"], "tag_id": tags[1 + n % 40]["id"]} for n, item in enumerate(items)]
    )
    lines = [
        {"item_id": item["id"], "user_id": item["user_id"], "action": "create", "actor": "person", "status": "ARCHIVED"}
        for item in items
    ]
    session.execute(insert(ItemEvent), lines)
    session.execute(text("ANALYZE"))
    return str(items[0]["id"])


@pytest.fixture
async def filled(database: Database) -> tuple[Database, str, str]:
    identity = Identity(database, dev_auth=True)
    users = [await identity.user_id_of(f"user {n}") for n in range(50)]
    item_id = await database.write(lambda session: fill(session, users))
    return database, users[0], item_id


def plans_of(session: Session, run: Callable[[Session], object]) -> str:
    """The planner's word on every statement of `run`."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *rest: object) -> None:
        is_for_many = rest[-1]
        if not is_for_many:
            seen.append((statement, parameters))
        elif not statement.startswith("INSERT"):  # one that asks for no row has no way to it
            seen.append((statement, parameters[0]))

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        run(session)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN (FORMAT JSON)"
    connection = session.connection()
    if engine.dialect.name == "postgresql":
        # A few thousand rows are soon read: whether an index can serve is asked, not whether it pays yet.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    plans = []
    for statement, parameters in seen:
        if not statement.startswith(("EXPLAIN", "SET", "LOCK")):
            plans.append(str([tuple(row) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)]))
    return json.dumps(plans)


@pytest.mark.parametrize("name", QUERIES)
async def test_the_query_walks_its_index(filled: tuple[Database, str, str], name: str) -> None:
    database, user, item_id = filled
    index, query = QUERIES[name]
    plans = await database.read(lambda session: plans_of(session, lambda s: query(s, user, item_id)))
    assert re.search(index, plans), plans
    assert not re.search(r"SCAN (items|item_events|item_tags)\b(?! USING)", plans), plans
    assert not re.search(r"'Seq Scan'[^}]*'Relation Name': '(items|item_events|item_tags)'", plans), plans
