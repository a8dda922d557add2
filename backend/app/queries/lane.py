"""Queries as a lane of the worker: the second one, beside enrichment."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Table
from sqlalchemy.orm import Session

from app.announcements import news_of
from app.errors import LLMError, Remedy
from app.llm.attempts import AttemptRecorder, FirstCall
from app.queries.asking import LANE, Asker, failed, is_plain
from app.queries.query_model import Query, QueryStatus
from app.queries.schemas import QueryRequest
from app.worker.lane import Ended, Work, WorkTable

_DEADLINE_MARGIN_SECONDS = 10


class QueryLane:
    """Queries in RUNNING. A fault is final: whoever asked is told and decides; only a crash makes a query run again."""

    name = LANE
    work_table = WorkTable(
        table=cast("Table", Query.__table__),
        working=QueryStatus.RUNNING,
        failed=QueryStatus.FAILED,
        payload=("request",),
        results={"answer": "jsonb", "receipt": "jsonb", "query_error": "text"},
        error="query_error",
        is_plain=lambda payload: is_plain(payload["request"]),
    )

    def __init__(self, asker: Asker, slots: int) -> None:
        self._asker = asker
        self.slots = slots
        self.deadline_seconds = asker.deadline_seconds + _DEADLINE_MARGIN_SECONDS

    async def start(self) -> None:
        """The gateway gets itself ready with the first call that needs it."""

    async def close(self) -> None:
        """The gateway is the process's."""

    def first_call(self) -> FirstCall | None:
        return self._asker.first_call()

    def allowance(self, free: int) -> int:
        return free

    def seconds_until_open(self) -> float:
        return 0.0

    async def run(self, work: Work, attempts: AttemptRecorder) -> Mapping[str, Any]:
        request = QueryRequest.model_validate(work.payload["request"])
        try:
            return await self._asker.ask(request, work.user_id, attempts)
        except LLMError as fault:
            fault.remedy = Remedy.FAIL
            raise

    def failure(self, error: LLMError) -> Mapping[str, Any]:
        return failed(error)

    def record_ended(self, session: Session, ended: Sequence[Ended]) -> None:
        news_of(session).ended.update(row.id for row in ended)
