"""Random histories of people and workers, against a model that knows only the transition table and one counter.

Workers keep what they once claimed for ever and come back with it at any time: a late write that got through, a fence
that stood still, or a discard that was undone would part the database from the model.
"""

import asyncio
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from sqlalchemy import select

from app.database import Database
from app.errors import InvalidInput, InvalidTransition, LLMUnreachable
from app.items.item import TRANSITIONS, Action, ItemStatus, next_status
from app.items.item_model import Item
from app.migrations import migrate
from app.worker import lease
from app.worker.cycle import take_back
from app.worker.lane import Work
from tests.engines import fresh_database
from tests.worker.vault import CONTENT, Vault

PEOPLES_ACTIONS = [Action.CONFIRM, Action.DISCARD, Action.EDIT, Action.RETRY]


@dataclass
class Expected:
    """What the model says of an item. `fence` is the `claim_seq` that the row must have."""

    status: ItemStatus = ItemStatus.ENRICHING
    fence: int = 1
    deaths: int = 0
    is_leased: bool = False
    is_deferred: bool = False
    has_title: bool = False

    def move(self, status: ItemStatus | None = None) -> None:
        self.fence += 1
        self.status = status or self.status
        self.is_leased = self.is_deferred = False


class LeaseMachine(RuleBasedStateMachine):
    """People act through the service, workers through the lease statements."""

    items = Bundle("items")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self._fresh = contextmanager(fresh_database)(migrate)
        self.runner = asyncio.Runner()
        self.vault = Vault(Database(self._fresh.__enter__()))
        self.runner.run(self.vault.database.start())
        self.lane = self.vault.lane()
        self.expected: dict[str, Expected] = {}

    def teardown(self) -> None:
        self.runner.run(self.vault.database.close())
        self.runner.close()
        self._fresh.__exit__(None, None, None)

    def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.runner.run(self.vault.database.write(lambda s: work(s, *args, **kwargs)))

    @rule(target=items, user=st.sampled_from(["ann", "bob"]))
    def post(self, user: str) -> str:
        item_id = self.runner.run(self.vault.post("A note.", user=user))
        self.expected[item_id] = Expected()
        return item_id

    @rule(target=claims, limit=st.integers(1, 3), owner=st.sampled_from(["one", "two"]))
    def claim(self, limit: int, owner: str) -> Any:
        claimed = self.write(lease.claim, self.lane.work_table, owner=owner, lease_seconds=60, limit=limit)
        ready = [
            e for e in self.expected.values()
            if e.status is ItemStatus.ENRICHING and not e.is_leased and not e.is_deferred
        ]  # fmt: skip
        assert len(claimed) == min(limit, len(ready))
        for work in claimed:
            expected = self.expected[work.id]
            assert expected in ready
            expected.move()
            expected.is_leased = True
            assert work.claim_seq == expected.fence
        return multiple(*claimed)

    @rule(work=claims, good=st.booleans())
    def end(self, work: Work, *, good: bool) -> None:
        holds = self._holds(work)
        failure = self.lane.failure(LLMUnreachable())
        success = {"status": "READY_TO_CONFIRM", "title": CONTENT.title, "suggestions": []}
        source = {name: work.payload[name] for name in self.lane.work_table.source}
        row = {**dict.fromkeys(self.lane.work_table.results), **source, **(success if good else failure)}
        ended = self.write(lease.finish, self.lane.work_table, [{**row, "id": work.id, "claim_seq": work.claim_seq}])
        assert len(ended) == (1 if holds else 0)
        if holds:
            expected = self.expected[work.id]
            expected.move(next_status(ItemStatus.ENRICHING, Action.FINISH if good else Action.FAIL))
            expected.has_title = expected.has_title or good

    @rule(work=claims, delay=st.sampled_from([None, 3600.0]))
    def give_back(self, work: Work, delay: float | None) -> None:
        holds = self._holds(work)
        back = partial(lease.give_back, delay_seconds=delay, attempt_returned=True)
        assert self.write(back, self.lane.work_table, work) is holds
        if holds:
            self.expected[work.id].move()
            self.expected[work.id].is_deferred = delay is not None

    @rule(works=st.lists(claims, max_size=4, unique_by=lambda work: (work.id, work.claim_seq)))
    def beat(self, works: list[Work]) -> None:
        held = [(work.id, work.claim_seq) for work in works]
        kept = self.write(lease.beat, self.lane.work_table, held, lease_seconds=60)
        assert kept == {(work.id, work.claim_seq) for work in works if self._holds(work)}

    @rule(item_id=items)
    def lose_the_lease(self, item_id: str) -> None:
        expected = self.expected[item_id]
        if expected.is_leased:
            self.runner.run(self.vault.expire_lease(item_id))
        lost = self.write(take_back, self.lane)
        assert lost.ids == ([item_id] if expected.is_leased else [])
        if expected.is_leased:
            expected.deaths += 1
            is_poisoned = expected.deaths >= lease.MAX_DEATHS
            expected.move(ItemStatus.FAILED if is_poisoned else None)

    @rule(item_id=items)
    def become_due(self, item_id: str) -> None:
        if self.expected[item_id].is_deferred:
            self.runner.run(self.vault.make_due(item_id))
            self.expected[item_id].is_deferred = False
        self.write(lease.promote_due, self.lane.work_table)

    @rule(item_id=items, action=st.sampled_from(PEOPLES_ACTIONS), user=st.sampled_from(["ann", "bob"]))
    def act(self, item_id: str, action: Action, user: str) -> None:
        expected = self.expected[item_id]
        owner = self.runner.run(self.vault.item(item_id)).user_id
        if self.runner.run(self.vault.identity.user_id_of(user)) != owner:
            return
        fields = {"summary": f"Edit {expected.fence}"} if action is Action.EDIT else {}
        try:
            self.runner.run(self.vault.act(item_id, action, user=user, **fields))
        except InvalidTransition:
            assert action not in TRANSITIONS[expected.status]
        except InvalidInput:
            assert action is Action.CONFIRM
            assert not expected.has_title
        else:
            expected.move(next_status(expected.status, action))
            # A person's change may be flushed in two steps: the fence must have moved, by how much does not matter.
            fence = self.runner.run(self.vault.item(item_id)).claim_seq
            assert fence >= expected.fence
            expected.fence = fence
            if action is Action.RETRY:
                expected.deaths = 0

    @rule(item_id=consumes(items))
    def discard_for_good(self, item_id: str) -> None:
        expected = self.expected[item_id]
        for user in ("ann", "bob"):
            self.act(item_id, Action.DISCARD, user)
        assert expected.status is ItemStatus.DISCARDED

    @invariant()
    def the_database_agrees(self) -> None:
        rows = self.runner.run(self.vault.database.read(lambda s: list(s.scalars(select(Item)))))
        found = {row.id: (row.status, row.claim_seq, row.lease_owner is not None, row.deaths) for row in rows}
        assert found == {
            item_id: (e.status, e.fence, e.is_leased, e.deaths) for item_id, e in self.expected.items()
        }  # fmt: skip

    def _holds(self, work: Work) -> bool:
        expected = self.expected[work.id]
        return expected.status is ItemStatus.ENRICHING and expected.fence == work.claim_seq


TestLeaseMachine = LeaseMachine.TestCase
TestLeaseMachine.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
