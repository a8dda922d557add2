"""All that the routes of queries, and of OpenAI's wire, need of the process; built once, in `main`."""

from dataclasses import dataclass

from app.config import Settings
from app.database import Database
from app.llm.gateway import Gateway
from app.prompts.registry import PromptRegistry
from app.queries.asking import Asker
from app.queries.lane import QueryLane
from app.queries.live import LiveCalls
from app.queries.quota import QueryQuota
from app.queries.waiting import Endings


@dataclass(frozen=True, slots=True)
class Desk:
    """The lane is for the worker; what is live stops with the process."""

    database: Database
    gateway: Gateway
    asker: Asker
    lane: QueryLane
    quota: QueryQuota
    live: LiveCalls
    endings: Endings


def build_desk(settings: Settings, database: Database, gateway: Gateway, prompts: PromptRegistry) -> Desk:
    """On the loop that it will run on."""
    asker = Asker(gateway, prompts, database, deadline_seconds=settings.query_timeout_seconds)
    lane = QueryLane(asker, settings.query_concurrency)
    quota = QueryQuota(settings.queries_per_day, settings.queries_at_once)
    live = LiveCalls(database, lane, quota, drain_seconds=settings.worker_drain_seconds)
    return Desk(database, gateway, asker, lane, quota, live, Endings(database))
