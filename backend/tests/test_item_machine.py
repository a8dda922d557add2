"""The life of an item, driven at random through the real service and database, and checked against a model.

The worker's end of an enrichment is `finish` and `fail` here, behind the fence; its claim can join as one more rule.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.accounts.identity import Identity
from app.database import Database, new_id
from app.errors import InvalidInput, InvalidTransition
from app.items import queries, service
from app.items.item import Action, EnrichmentMode, ItemStatus, next_status
from app.items.item_model import Item
from app.items.presentation import present
from app.items.schemas import ItemCreate, ItemOut, ItemPatch
from app.items.tagging import name_key
from app.migrations import migrate
from tests.engines import fresh_database

T = TypeVar("T")
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=5)
TAGS = st.lists(st.sampled_from(["python", "Python", "testing", "Straße", "STRASSE", "own"]), max_size=4)


@dataclass
class Expected:
    """What the model knows of an item. `fence` only ever grows."""

    status: ItemStatus
    mode: EnrichmentMode
    title: str | None = None
    carried: set[str] = field(default_factory=set)
    fence: int = 0


class ItemLife(RuleBasedStateMachine):
    items: Bundle[str] = Bundle("items")

    def __init__(self) -> None:
        super().__init__()
        self._urls: Iterator[str] = fresh_database(migrate)
        self.database = Database(next(self._urls))
        self.runner = asyncio.Runner()
        self.expected: dict[str, Expected] = {}
        self.runner.run(self.database.start())
        self.user_id = self.runner.run(Identity(self.database, dev_auth=True).user_id_of("a"))

    def teardown(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()
        next(self._urls, None)

    def write(self, work: Callable[[Session], T]) -> T:
        return self.runner.run(self.database.write(work))

    @rule(target=items, enrich=st.booleans(), text=TEXTS)
    def create(self, *, enrich: bool, text: str) -> str:
        request = ItemCreate(raw_text=text, enrich=enrich)
        item = self.write(lambda session: service.create_item(session, self.user_id, request)).item
        mode = EnrichmentMode.AI if enrich else EnrichmentMode.MANUAL
        status = ItemStatus.ENRICHING if enrich else ItemStatus.ARCHIVED
        self.expected[item.id] = Expected(status, mode, title=item.title)
        return item.id

    @rule(item_id=items, title=st.sampled_from([None, "A title"]), tags=st.none() | TAGS)
    def confirm(self, item_id: str, title: str | None, tags: list[str] | None) -> None:
        was = self.expected[item_id]
        patch = ItemPatch(action="confirm", title=title, tags=tags)
        if was.status is ItemStatus.FAILED and (title or was.title) is None:
            self.refused(item_id, patch, InvalidInput)
            return
        self.change(item_id, Action.CONFIRM, patch)

    @rule(item_id=items, title=st.sampled_from([None, "Another"]), tags=st.none() | TAGS)
    def edit(self, item_id: str, title: str | None, tags: list[str] | None) -> None:
        self.change(item_id, Action.EDIT, ItemPatch(title=title, tags=tags))

    @rule(item_id=items)
    def discard(self, item_id: str) -> None:
        self.change(item_id, Action.DISCARD, ItemPatch(action="discard"))

    @rule(item_id=items)
    def retry(self, item_id: str) -> None:
        self.act(item_id, Action.RETRY, lambda session: service.retry_item(session, self.user_id, item_id))

    @rule(item_id=items)
    def unconfirm(self, item_id: str) -> None:
        before = self.expected[item_id].carried
        self.act(item_id, Action.UNCONFIRM, lambda session: service.unconfirm_item(session, self.user_id, item_id))
        assert self.expected[item_id].carried == before

    @rule(item_id=items, tags=TAGS)
    def finish(self, item_id: str, tags: list[str]) -> None:
        proposals = [{"id": new_id(), "name": tag, "status": "PENDING"} for tag in dict.fromkeys(tags)]
        self.end(item_id, Action.FINISH, title="Proposed", suggestions=proposals)

    @rule(item_id=items)
    def fail(self, item_id: str) -> None:
        self.end(item_id, Action.FAIL, enrichment_error="LLM_TIMEOUT: Too late.", suggestions=[])

    def change(self, item_id: str, action: Action, patch: ItemPatch) -> None:
        expected = self.expected[item_id]
        carried = expected.carried if patch.tags is None else {name_key(tag) for tag in patch.tags}
        allowed = self.act(item_id, action, lambda s: service.change_item(s, self.user_id, item_id, patch))
        if allowed and action is not Action.DISCARD:
            expected.title = patch.title or expected.title
            expected.carried = carried

    def act(self, item_id: str, action: Action, work: Callable[[Session], ItemOut]) -> bool:
        """Whether the action was allowed, which the table and the service must agree about."""
        expected = self.expected[item_id]
        try:
            following = next_status(expected.status, action, expected.mode)
        except InvalidTransition:
            self.refused_by(work, InvalidTransition)
            return False
        assert self.write(work).status is following
        expected.status = following
        return True

    def end(self, item_id: str, action: Action, **columns: Any) -> None:
        """As the worker does: only where the fence still stands."""
        expected, item = self.expected[item_id], self.stored(item_id)
        fenced = update(Item).where(Item.id == item_id, Item.status == "ENRICHING", Item.claim_seq == item.claim_seq)
        status = ItemStatus.READY_TO_CONFIRM if action is Action.FINISH else ItemStatus.FAILED
        ended = fenced.values(status=status, claim_seq=Item.claim_seq + 1, **columns).returning(Item.id)
        rows = self.write(lambda session: session.execute(ended).all())
        assert bool(rows) is (expected.status is ItemStatus.ENRICHING)
        if rows:
            expected.status = next_status(expected.status, action)
            expected.title = columns.get("title", expected.title)
            expected.carried = {name_key(entry["name"]) for entry in columns["suggestions"]} | self.linked(item_id)

    def refused(self, item_id: str, patch: ItemPatch, error: type[Exception]) -> None:
        self.refused_by(lambda session: service.change_item(session, self.user_id, item_id, patch), error)

    def refused_by(self, work: Callable[[Session], object], error: type[Exception]) -> None:
        try:
            self.write(work)
        except error:
            return
        raise AssertionError(f"{error.__name__} was expected")

    def stored(self, item_id: str) -> Item:
        return self.runner.run(self.database.read(lambda s: queries.own_item(s, self.user_id, item_id)))

    def shown(self, item_id: str) -> ItemOut:
        return self.runner.run(
            self.database.read(lambda s: present(s, [queries.own_item(s, self.user_id, item_id)])[0])
        )

    def linked(self, item_id: str) -> set[str]:
        return {
            name_key(tag.name)
            for tag in self.shown(item_id).tags
            if tag.id not in {entry["id"] for entry in self.stored(item_id).suggestions}
        }

    @invariant()
    def what_is_shown_is_what_the_model_expects(self) -> None:
        for item_id, expected in self.expected.items():
            shown = self.shown(item_id)
            assert (shown.status, shown.title) == (expected.status, expected.title)
            assert {name_key(tag.name) for tag in shown.tags} == expected.carried
            assert (shown.confirmed_at is not None) or shown.status is not ItemStatus.ARCHIVED
            assert (shown.enrichment_error is not None) is (shown.status is ItemStatus.FAILED) or (
                shown.status is ItemStatus.DISCARDED
            )

    @invariant()
    def the_fence_never_goes_back(self) -> None:
        for item_id, expected in self.expected.items():
            fence = self.stored(item_id).claim_seq
            assert fence >= expected.fence
            expected.fence = fence

    @invariant()
    def every_item_stands_in_the_list_of_its_status(self) -> None:
        def lists(session: Session) -> tuple[set[str], set[str]]:
            pending, _ = queries.pending_items(session, self.user_id, 500)
            page = queries.library_page(session, self.user_id, words="", tag="", cursor=None, limit=100)
            return {item.id for item in pending}, {item.id for item in page.items}

        pending, library = self.runner.run(self.database.read(lists))
        waiting = (ItemStatus.ENRICHING, ItemStatus.READY_TO_CONFIRM, ItemStatus.FAILED)
        assert pending == {i for i, e in self.expected.items() if e.status in waiting}
        assert library == {i for i, e in self.expected.items() if e.status is ItemStatus.ARCHIVED}


TestItemLife = pytest.mark.slow(ItemLife.TestCase)
TestItemLife.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
