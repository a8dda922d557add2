"""A vault without the web: items made by the service, a worker with a provider that does as it is told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import select, text, update

from app.accounts.identity import Identity
from app.accounts.privacy import Privacy
from app.clock import utc_now
from app.config import LLMSettings
from app.database import Database
from app.enrichment.lane import EnrichmentLane
from app.enrichment.schemas import EnrichmentResult, EnrichmentSchema
from app.errors import LLMError
from app.items import service
from app.items.item import SourceType
from app.items.item_model import Item, ItemEvent
from app.items.schemas import ItemCreate, ItemOut, ItemPatch
from app.llm.attempts import UNRECORDED, AttemptOutcome, AttemptRecorder, FirstCall, Usage
from app.llm.ledger.attempt_model import LLMAttempt
from app.llm.traffic.gate import UNLIMITED
from app.worker.retry import RetryPolicy
from app.worker.worker import Worker, WorkerSettings

Behaviour = BaseException | Callable[[], Any] | None
CONTENT = EnrichmentSchema(
    title="A title", summary="A summary.", tags=["one", "two", "three"], source_type=SourceType.NOTE
)
SETTINGS = WorkerSettings(lease_seconds=30, poll_seconds=5, drain_seconds=5, retry=RetryPolicy(3, 0, 0))


Running = Callable[..., Worker]


class ScriptedProvider:
    """Does for the n-th call what the n-th behaviour says: raise it, await what it returns, or, at the end, answer."""

    def __init__(self) -> None:
        self.behaviours: list[Behaviour] = []
        self.calls: list[str] = []
        self.called = asyncio.Event()
        self.allowed = UNLIMITED
        self.first: FirstCall | None = FirstCall("scripted", "one")
        self.opens_in = 0.0
        self.content = CONTENT
        self.contents: dict[str, EnrichmentSchema] = {}
        self.faults: dict[str, LLMError] = {}

    async def start(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to close."""

    def first_call(self) -> FirstCall | None:
        return self.first

    def allowance(self) -> int:
        return self.allowed

    def seconds_until_open(self) -> float:
        return self.opens_in

    async def enrich_item(
        self,
        text: str,
        *,
        privacy: Privacy = Privacy.ANY,
        attempts: AttemptRecorder = UNRECORDED,
        user_id: str | None = None,
    ) -> EnrichmentResult:
        attempt = await attempts.open(provider="scripted", model="one")
        outcome = AttemptOutcome.CANCELLED
        self.calls.append(text)
        self.called.set()
        try:
            await self._behave(text)
            outcome = AttemptOutcome.OK
        except Exception:
            outcome = AttemptOutcome.ERROR
            raise
        finally:
            attempt.settle(outcome, usage=Usage(10, 5) if outcome is AttemptOutcome.OK else None)
            attempts.close(attempt)
        return EnrichmentResult(
            self.contents.get(text, self.content), provider="scripted", model="one", prompt_version="test/1"
        )

    async def _behave(self, text: str) -> None:
        if text in self.faults:
            raise self.faults[text]
        behaviour = self.behaviours.pop(0) if self.behaviours else None
        if isinstance(behaviour, BaseException):
            raise behaviour
        if behaviour is not None:
            await behaviour()


class Vault:
    """What the tests do to items and what they look at."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.provider = ScriptedProvider()
        self.identity = Identity(database, dev_auth=True)
        self.llm = LLMSettings(concurrency=4)

    def worker(self, **changes: Any) -> Worker:
        return Worker(self.database, self.lane(), replace(SETTINGS, **changes))

    def lane(self) -> EnrichmentLane:
        return EnrichmentLane(self.provider, self.llm)

    async def post(self, text: str = "A note.", user: str = "ann", **fields: Any) -> str:
        user_id = await self.identity.user_id_of(user)
        request = ItemCreate(raw_text=text, **fields)
        created = await self.database.write(lambda s: service.create_item(s, user_id, request))
        return created.item.id

    async def act(self, item_id: str, action: str, user: str = "ann", **fields: Any) -> ItemOut:
        user_id = await self.identity.user_id_of(user)
        if action == "retry":
            return await self.database.write(lambda s: service.retry_item(s, user_id, item_id))
        patch = ItemPatch(action=None if action == "edit" else action, **fields)  # type: ignore[arg-type]
        return await self.database.write(lambda s: service.change_item(s, user_id, item_id, patch))

    async def item(self, item_id: str) -> Item:
        return await self.database.read(lambda s: s.scalars(select(Item).where(Item.id == item_id)).one())

    async def status(self, item_id: str) -> str:
        return (await self.item(item_id)).status

    async def attempts(self, item_id: str) -> list[LLMAttempt]:
        query = select(LLMAttempt).where(LLMAttempt.item_id == item_id).order_by(LLMAttempt.id)
        return await self.database.read(lambda s: list(s.scalars(query)))

    async def outcomes(self, item_id: str) -> list[str | None]:
        return [attempt.outcome for attempt in await self.attempts(item_id)]

    async def actions(self, item_id: str) -> list[str]:
        query = select(ItemEvent.action).where(ItemEvent.item_id == item_id).order_by(ItemEvent.seq)
        return await self.database.read(lambda s: list(s.scalars(query)))

    async def set(self, item_id: str, **columns: Any) -> None:
        """Put the row into a state, past every rule."""
        await self.database.write(lambda s: s.execute(update(Item).where(Item.id == item_id).values(**columns)))

    async def expire_lease(self, item_id: str) -> None:
        await self.set(item_id, lease_until=utc_now() - timedelta(seconds=1))

    async def make_due(self, item_id: str) -> None:
        await self.set(item_id, not_before=utc_now() - timedelta(seconds=1))

    async def until_blocked(self) -> None:
        """Returns when somebody waits for a lock; PostgreSQL only."""
        query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        async with asyncio.timeout(10):
            while not await self.database.read(lambda session: session.scalar(query)):  # noqa: ASYNC110 - the server's
                await asyncio.sleep(0.005)


async def until(condition: Callable[[], Any]) -> None:
    """Returns when the condition holds; fails when it does not within ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it may be any look at the outside
            await asyncio.sleep(0.002)


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    """As `until`, for a look that has to be awaited."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - it may be any look at the outside
            await asyncio.sleep(0.002)


class Gate:
    """A behaviour that waits until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.open.wait()
