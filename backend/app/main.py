"""The application: builds everything once, mounts the routes, runs the worker in the lifespan; alone knows all."""

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import health, metrics
from app.accounts import profile_routes
from app.accounts.identity import Identity
from app.accounts.roles import Role
from app.analytics import routes as analytics_routes
from app.analytics import usage_routes
from app.chat import routes as chat_routes
from app.config import Settings, load_settings
from app.database import Database
from app.enrichment.lane import EnrichmentLane
from app.enrichment.providers import build_provider
from app.errors import StartRefused
from app.items import events_routes, tag_routes
from app.items import routes as items_routes
from app.llm.gateway import Gateway, build_gateway
from app.logs import configure_logs
from app.migrations import bring_up_to_date
from app.newswire import Newswire
from app.prompts import routes as prompt_routes
from app.prompts.registry import PromptRegistry, as_in_files, following
from app.providers import routes as provider_routes
from app.providers.access import ProviderAccess, build_access
from app.queries import routes as query_routes
from app.queries.desk import Desk, build_desk
from app.queries.lane import QueryLane
from app.shutdown import on_stop_signal
from app.spending import routes as spending_routes
from app.spending.alerts import AlertTeller
from app.spending.known_budgets import KnownBudgets
from app.spending.service import WaitingRows
from app.sweeps.retention import sweeps_of
from app.sweeps.sweeper import swept
from app.web import COMMON_ERRORS, OPENAI_ERRORS, Guard, RequestContext, install_error_handlers
from app.worker.crew import Crew
from app.worker.retry import RetryPolicy
from app.worker.worker import WorkerSettings

_SWITCH_SECONDS = 0.0005
_EXPOSED = ["X-Request-Id", "ETag", "Idempotency-Replayed", "Retry-After", "RateLimit", "RateLimit-Policy"]


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings; nothing is opened before its lifespan starts."""
    app = FastAPI(title="LiteVault", version="0.1.0", lifespan=partial(_lifespan, settings), redirect_slashes=False)
    install_error_handlers(app)
    app.include_router(chat_routes.router, responses=OPENAI_ERRORS)
    # Routes are tried in this order: first those that are asked most.
    routers = (
        query_routes.router,
        events_routes.router,
        items_routes.router,
        items_routes.library_router,
        tag_routes.router,
        profile_routes.router,
        prompt_routes.router,
        analytics_routes.router,
        provider_routes.router,
        spending_routes.router,
        usage_routes.router,
    )
    for router in routers:
        app.include_router(router, prefix="/api/v1", responses=COMMON_ERRORS)
    app.include_router(metrics.router, responses=COMMON_ERRORS)
    for prefix in ("", "/api/v1"):
        app.include_router(health.router, prefix=prefix)
    app.add_middleware(Guard, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    app.add_middleware(RequestContext)
    app.add_middleware(PlainRefusal)
    return app


class PlainRefusal:
    """Tells the server in one line why the application does not start; starlette would show it the whole traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        failure: Message | None = None

        async def hold_back_failure(message: Message) -> None:
            nonlocal failure
            if message["type"] == "lifespan.startup.failed":
                failure = message
            else:
                await send(message)

        try:
            await self._app(scope, receive, hold_back_failure)
        except StartRefused as refusal:
            await send({"type": "lifespan.startup.failed", "message": str(refusal)})
        except BaseException:
            if failure is not None:
                await send(failure)
            raise


@asynccontextmanager
async def _lifespan(settings: Settings, app: FastAPI) -> AsyncIterator[None]:
    await bring_up_to_date(settings.resolved_database_url)
    async with running(settings, with_worker=settings.worker_enabled) as process:
        app.state.database = process.database
        app.state.crew = process.crew
        app.state.providers = process.calling.providers
        app.state.gateway = process.calling.gateway
        app.state.prompts = process.prompts
        app.state.items_per_day = settings.items_per_day
        app.state.queries = process.queries
        app.state.known_budgets = process.calling.budgets
        worked = (EnrichmentLane.work_table, QueryLane.work_table)
        app.state.waiting_rows = [WaitingRows(table.table.name, table.working) for table in worked]
        app.state.identity = Identity(process.database, dev_auth=settings.dev_auth_allowed)
        app.state.dev_role = Role.named(settings.dev_role)
        yield


@dataclass(frozen=True, slots=True)
class Calling:
    """What it takes to call a model."""

    providers: ProviderAccess
    budgets: KnownBudgets
    gateway: Gateway


@dataclass(frozen=True, slots=True)
class Process:
    """What runs in this process beneath the web."""

    database: Database
    calling: Calling
    prompts: PromptRegistry
    queries: Desk
    crew: Crew | None

    def stop(self, *, at_once: bool) -> None:
        self.queries.live.stop(at_once=at_once)
        if self.crew is not None:
            self.crew.stop(at_once=at_once)

    async def wait_stopped(self) -> None:
        if self.crew is not None:
            await self.crew.wait_stopped()
        await self.queries.live.close()


@asynccontextmanager
async def running(settings: Settings, *, with_worker: bool) -> AsyncIterator[Process]:
    """The database, the newswire and, where wanted, the workers; drained and closed at the end or on a signal."""
    prompts = as_in_files(settings.environment, settings.prompts_dir)
    database = Database(settings.resolved_database_url)
    await database.start()
    newswire = Newswire(database)
    newswire.start()
    process: Process | None = None

    def stop(signals: int = 1) -> None:
        database.noticeboard.close()
        if process is not None:
            process.stop(at_once=signals > 1)

    with on_stop_signal(stop):
        try:
            async with _calling(settings, database) as calling, following(database, prompts):
                queries = build_desk(settings, database, calling.gateway, prompts)
                crew = _crew(settings, prompts, queries) if with_worker else None
                process = Process(database, calling, prompts, queries, crew)
                try:
                    if crew is not None:
                        crew.start()
                    yield process
                finally:
                    stop()
                    await process.wait_stopped()
        finally:
            await newswire.close()
            await database.close()


@asynccontextmanager
async def _calling(settings: Settings, database: Database) -> AsyncIterator[Calling]:
    access = build_access(settings, database)
    budgets, alerts = KnownBudgets(database), AlertTeller(database, settings.alert_urls)
    gateway = build_gateway(
        settings.llm, access, database, lambda spender: budgets.covers(spender.user_id, spender.api_key_id)
    )
    providers = replace(access, traffic=gateway)
    async with providers.running():
        try:
            async with (
                budgets.followed(),
                gateway.keeping_books(),
                gateway.sharing(),
                gateway.warming_up(),
                alerts.telling(),
                swept(database, sweeps_of(settings)),
            ):
                yield Calling(providers, budgets, gateway)
        finally:
            await gateway.close()


def _crew(settings: Settings, prompts: PromptRegistry, queries: Desk) -> Crew:
    enrichment = EnrichmentLane(build_provider(settings.llm, prompts, queries.gateway), settings.llm)
    return Crew(queries.database, [enrichment, queries.lane], _worker_settings(settings))


def _worker_settings(settings: Settings) -> WorkerSettings:
    retry = RetryPolicy(
        max_attempts=settings.worker_max_attempts,
        backoff_seconds=settings.worker_backoff_seconds,
        backoff_max_seconds=settings.worker_backoff_max_seconds,
    )
    return WorkerSettings(
        lease_seconds=settings.worker_lease_seconds,
        poll_seconds=settings.worker_poll_seconds,
        drain_seconds=settings.worker_drain_seconds,
        retry=retry,
    )


def prepare_process(settings: Settings) -> None:
    """Once in a process that serves or works, when its modules are loaded: its logs, and the interpreter itself."""
    configure_logs(settings.log_level, settings.log_format)
    # A thread that wants to go on after each of its waits (the writer, a reader, an answer while a vendor's library
    # computes) waits that long for the one that computes: at Python's 5 ms, ten such waits are felt.
    sys.setswitchinterval(_SWITCH_SECONDS)
    # What is loaded by now lives as long as the process: the collector need not walk through it again and again,
    # which took a third of the worker's time.
    gc.collect()
    gc.freeze()
    # A hundred items at work are some ten thousand objects: no cause to look for garbage.
    gc.set_threshold(20_000, 20, 20)


def __getattr__(name: str) -> FastAPI:
    """`app.main:app` for uvicorn; built when asked for, so that importing this module does nothing."""
    if name != "app":
        raise AttributeError(name)
    try:
        settings = load_settings()
    except StartRefused as refusal:
        sys.stderr.write(f"litevault: {refusal}\n")
        raise SystemExit(refusal.exit_code) from None
    prepare_process(settings)
    return create_app(settings)
