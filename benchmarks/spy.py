"""The stub provider with an ear to the wire: when each call would have left."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvloop

from app.accounts.privacy import Privacy
from app.config import Settings, load_settings
from app.database import Database
from app.enrichment.lane import EnrichmentLane
from app.enrichment.schemas import EnrichmentResult
from app.enrichment.stub_provider import StubProvider
from app.llm.attempts import UNRECORDED, UNSAID, Attempt, AttemptRecorder, Purpose, Saved
from app.main import prepare_process
from app.newswire import Newswire
from app.prompts.registry import as_in_files
from app.worker.crew import Crew
from app.worker.worker import WorkerSettings

Heard = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class _Ear:
    """A recorder that tells the moment after its attempt was committed: the call leaves then."""

    inner: AttemptRecorder
    text: str
    heard: Heard

    async def open(self, *, provider: str, model: str, purpose: Purpose = UNSAID) -> Attempt:
        attempt = await self.inner.open(provider=provider, model=model, purpose=purpose)
        self.heard(self.text, time.monotonic())
        return attempt

    def close(self, attempt: Attempt) -> None:
        self.inner.close(attempt)

    async def note_cached(self, *, provider: str, model: str, purpose: Purpose, saved: Saved) -> Attempt:
        return await self.inner.note_cached(provider=provider, model=model, purpose=purpose, saved=saved)


class Spy(StubProvider):
    """Tells `heard` the text and the moment of every call."""

    def __init__(self, settings: Settings, heard: Heard) -> None:
        super().__init__(settings.llm, as_in_files(settings.environment))
        self._heard = heard

    async def enrich_item(
        self,
        text: str,
        *,
        privacy: Privacy = Privacy.ANY,
        attempts: AttemptRecorder = UNRECORDED,
        user_id: str | None = None,
    ) -> EnrichmentResult:
        return await super().enrich_item(text, privacy=privacy, attempts=_Ear(attempts, text, self._heard))


@asynccontextmanager
async def spied(database: Database, settings: Settings, heard: Heard) -> AsyncIterator[Crew]:
    """A worker on this database as `app.main` makes it, but for the provider."""
    lane = EnrichmentLane(Spy(settings, heard), settings.llm)
    crew = Crew(database, [lane], WorkerSettings())
    newswire = Newswire(database)
    newswire.start()
    crew.start()
    try:
        yield crew
    finally:
        crew.stop()
        await crew.wait_stopped()
        await newswire.close()


async def _work_until_closed() -> None:
    """A worker process: one line on standard output for each call; ends when standard input does."""
    settings = load_settings()
    database = Database(settings.resolved_database_url)
    await database.start()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with spied(database, settings, lambda text, at: print(f"{at:.9f} {text}", flush=True)):
        await reader.read()
    await database.close()


if __name__ == "__main__":
    prepare_process(Settings())
    uvloop.run(_work_until_closed())
