"""Enrichment as a lane of the worker: which columns an item gets when its enrichment ends, and its provider."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import Table, TextClause, text
from sqlalchemy.orm import Session

from app.accounts.privacy import Privacy
from app.announcements import news_of
from app.config import LLMSettings
from app.database import new_id
from app.enrichment.provider_interface import EnrichmentProvider
from app.enrichment.schemas import EnrichmentResult
from app.errors import LLMError
from app.items.item import Action, Actor, ItemStatus, SuggestionStatus, next_status
from app.items.item_model import Item
from app.json_rows import encode_rows, rows_as_table
from app.llm.attempts import AttemptRecorder, FirstCall
from app.worker.lane import Ended, Work, WorkTable

_DEADLINE_MARGIN_SECONDS = 10
_ACTIONS = {ItemStatus(next_status(ItemStatus.ENRICHING, action)): action for action in (Action.FINISH, Action.FAIL)}


class EnrichmentLane:
    """Items in ENRICHING, worked by an enrichment provider."""

    name = "enrichment"
    work_table = WorkTable(
        table=cast("Table", Item.__table__),
        working=ItemStatus.ENRICHING,
        failed=ItemStatus.FAILED,
        payload=("raw_text", "text_hash", "privacy"),
        is_plain=lambda payload: payload["privacy"] == Privacy.ANY,
        source=("text_hash",),
        results={
            "title": "text",
            "summary": "text",
            "source_type": "text",
            "suggestions": "jsonb",
            "enrichment": "jsonb",
            "enrichment_error": "text",
        },
        error="enrichment_error",
        kept=frozenset({"title", "summary"}),
    )

    def __init__(self, provider: EnrichmentProvider, settings: LLMSettings) -> None:
        self._provider = provider
        self._is_open = settings.enabled or settings.disabled_mode == "stub"
        self.slots = settings.concurrency
        self.deadline_seconds = settings.timeout_seconds + _DEADLINE_MARGIN_SECONDS

    async def start(self) -> None:
        """Switched off, nothing is warmed up: litellm alone takes seconds and 130 MB."""
        if self._is_open:
            await self._provider.start()

    async def close(self) -> None:
        await self._provider.close()

    def first_call(self) -> FirstCall | None:
        return self._provider.first_call()

    def allowance(self, free: int) -> int:
        return min(free, self._provider.allowance()) if self._is_open else 0

    def seconds_until_open(self) -> float:
        return self._provider.seconds_until_open() if self._is_open else 0.0

    async def run(self, work: Work, attempts: AttemptRecorder) -> Mapping[str, Any]:
        result = await self._provider.enrich_item(
            work.payload["raw_text"],
            privacy=Privacy(work.payload["privacy"]),
            attempts=attempts,
            user_id=work.user_id,
        )
        return _columns(result)

    def failure(self, error: LLMError) -> Mapping[str, Any]:
        return {
            "status": next_status(ItemStatus.ENRICHING, Action.FAIL),
            "suggestions": [],
            "enrichment_error": f"{error.code}: {error.explain()}"[:500],
        }

    def record_ended(self, session: Session, ended: Sequence[Ended]) -> None:
        journal = [
            {
                "item_id": row.id,
                "user_id": row.user_id,
                "action": _ACTIONS[ItemStatus(row.status)],
                "status": row.status,
            }
            for row in ended
        ]
        on_sqlite = session.get_bind().dialect.name == "sqlite"
        binds = {"rows": encode_rows(journal)}
        session.execute(_journal(on_sqlite=on_sqlite), binds)
        news_of(session).users.update(row.user_id for row in ended)


@cache
def _journal(*, on_sqlite: bool) -> TextClause:
    """One statement for any number of rows."""
    names = ("item_id", "user_id", "action", "status")
    rows = rows_as_table(dict.fromkeys(names, "text"), on_sqlite=on_sqlite)
    return text(
        f"INSERT INTO item_events ({', '.join(names)}, actor, from_status, at)"  # noqa: S608 - names from our own code
        f" SELECT {', '.join('v.' + name for name in names)}, '{Actor.WORKER}', '{ItemStatus.ENRICHING}',"
        f" (SELECT updated_at FROM items WHERE items.id = v.item_id) FROM {rows}"
    )


def _columns(result: EnrichmentResult) -> Mapping[str, Any]:
    content = result.content
    return {
        "status": next_status(ItemStatus.ENRICHING, Action.FINISH),
        "title": content.title,
        "summary": content.summary,
        "source_type": content.source_type,
        "suggestions": [{"id": new_id(), "name": tag, "status": SuggestionStatus.PENDING} for tag in content.tags],
        "enrichment": {
            "provider": result.provider,
            "model": result.model,
            "promptVersion": result.prompt_version,
            "coverage": result.coverage,
            "cached": result.cached,
        },
    }
