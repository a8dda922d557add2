"""The application: builds everything once, mounts the routes, runs the worker in the lifespan; alone knows all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from app.accounts import profile_routes
from app.accounts.identity import Identity
from app.config import Settings, load_settings
from app.database import Database
from app.items import events_routes, tag_routes
from app.items import routes as items_routes
from app.logs import configure_logs
from app.migrations import migrate_in_thread
from app.web import COMMON_ERRORS, Guard, RequestContext, install_error_handlers

_EXPOSED = ["X-Request-Id", "ETag", "Idempotency-Replayed", "Retry-After", "RateLimit", "RateLimit-Policy"]


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings; nothing is opened before its lifespan starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await migrate_in_thread(settings.resolved_database_url)
        database = Database(settings.resolved_database_url)
        await database.start()
        app.state.database = database
        app.state.identity = Identity(database, dev_auth=settings.dev_auth_allowed)
        yield
        database.noticeboard.close()
        await database.close()

    app = FastAPI(title="LiteVault", version="0.1.0", lifespan=lifespan)
    install_error_handlers(app)
    routers = (
        events_routes.router,
        items_routes.router,
        items_routes.library_router,
        tag_routes.router,
        profile_routes.router,
    )
    for router in routers:
        app.include_router(router, prefix="/api/v1", responses=COMMON_ERRORS)
    app.add_middleware(Guard, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    app.add_middleware(RequestContext)
    return app


def __getattr__(name: str) -> FastAPI:
    """`app.main:app` for uvicorn; built when asked for, so that importing this module does nothing."""
    if name != "app":
        raise AttributeError(name)
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    return create_app(settings)
