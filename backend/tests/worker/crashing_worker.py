"""A worker in a process of its own that dies at a chosen point, as by `kill -9`: `os._exit`, and nothing is tidied up.

A point is `before`, `inside` or `after` the nth writing transaction, or `call`: during the nth upstream call.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy.orm import Session

from app.accounts.privacy import Privacy
from app.database import Database
from app.enrichment.schemas import EnrichmentResult
from app.errors import LLMUnreachable
from app.llm.attempts import UNRECORDED, AttemptOutcome, AttemptRecorder, FirstCall, Usage
from tests.worker.vault import CONTENT, ScriptedProvider, Vault

T = TypeVar("T")
DIED = 9


class BookedProvider(ScriptedProvider):
    """Its upstream keeps a book in a file. The first call of all may be tried again, the second one gets an answer that
    must be asked for again, the others are good.
    """

    def __init__(self, book: Path, die: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._book, self._die = book, die

    def first_call(self) -> FirstCall | None:
        return FirstCall("booked", "one")

    async def enrich_item(
        self,
        text: str,
        *,
        privacy: Privacy = Privacy.ANY,
        attempts: AttemptRecorder = UNRECORDED,
        user_id: str | None = None,
    ) -> EnrichmentResult:
        while not await self._call(attempts):
            """Ask again."""
        return EnrichmentResult(CONTENT, provider="booked", model="one", prompt_version="test/1")

    async def _call(self, attempts: AttemptRecorder) -> bool:
        """Whether the answer is good. Raises LLMUnreachable."""
        attempt = await attempts.open(provider="booked", model="one")
        with self._book.open("a+") as book:
            book.write(f"{attempt.id}\n")
            book.seek(0)
            number = len(book.readlines())
        self._die()
        outcome = {1: AttemptOutcome.ERROR, 2: AttemptOutcome.INVALID}.get(number, AttemptOutcome.OK)
        attempt.settle(outcome, usage=None if number == 1 else Usage(10, 5))
        attempts.close(attempt)
        if number == 1:
            raise LLMUnreachable
        return number > 2


class DyingDatabase(Database):
    """Dies before, inside or after its nth write."""

    place, nth = "", 0
    writes = 0

    async def write(self, work: Callable[[Session], T]) -> T:
        self.writes += 1
        nth = self.writes
        self._die_if("before", nth)

        def work_and_die(session: Session) -> T:
            result = work(session)
            self._die_if("inside", nth)
            return result

        result = await super().write(work_and_die)
        self._die_if("after", nth)
        return result

    def _die_if(self, place: str, nth: int) -> None:
        if (place, nth) == (self.place, self.nth):
            os._exit(DIED)


def work(url: str, book: Path, place: str, nth: int) -> None:
    """Ends with DIED, or with 0 when the worker was done before it came to that point."""
    asyncio.run(_work(url, book, place, nth))


async def _work(url: str, book: Path, place: str, nth: int) -> None:
    database = DyingDatabase(url)
    database.place, database.nth = place, nth
    await database.start()
    vault = Vault(database)
    calls = 0

    def die_in_call() -> None:
        nonlocal calls
        calls += 1
        if (place, nth) == ("call", calls):
            os._exit(DIED)

    vault.provider = BookedProvider(book, die_in_call)
    await vault.worker().run_once()
    await database.close()
