"""`litevault serve`: uvicorn, set up so that a refusal is one line and nothing outlives the stop signal for long."""

import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import typer
import uvicorn

import app
from app.cli.variables import unknown_variables
from app.config import Settings, load_settings
from app.database_fault import name_of
from app.errors import NotReady, StartRefused
from app.main import create_app, prepare_process

_BACKEND = Path(app.__file__).resolve().parents[1]
# Open answers get this long; the worker's drain has its own bound.
_GRACE_SECONDS = 5
_BACKLOG = 2048


def serve(*, host: str | None, port: int | None, reload: bool) -> None:
    """Until a stop signal. Raises StartRefused, and typer.Exit when the start failed in the application."""
    overrides = {"host": host, "port": port}
    settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
    prepare_process(settings)
    listener = listen(settings.host, settings.port)
    if reload:
        _serve_reloading(settings, listener)
        return
    config = uvicorn.Config(
        create_app(settings),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    _quieten(settings)
    server = Server(config, lambda: typer.echo(greeting(settings)))
    try:
        server.run(sockets=[listener])
    except SystemExit:  # uvicorn's word for a failed start; why is in the log
        raise typer.Exit(1) from None


class Server(uvicorn.Server):
    """Says when it listens, and leaves the way out open.

    uvicorn answers a second Ctrl-C by skipping the application's own end, which gives the worker's items back; and it
    raises the signal again afterwards, so that a clean end looks like a killed process.
    """

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket: taken before the database is touched. Raises StartRefused when it cannot be had."""
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except socket.gaierror:
        raise StartRefused(f"LITEVAULT_HOST: {host} is no name or address that this machine knows") from None
    except OSError as error:
        raise _refusal(host, port, error) from None


def _refusal(host: str, port: int, error: OSError) -> StartRefused:
    if error.errno == errno.EADDRINUSE:
        return NotReady(f"port {port} on {host} is in use: stop what listens there, or choose --port or LITEVAULT_PORT")
    if error.errno == errno.EADDRNOTAVAIL:
        return StartRefused(f"LITEVAULT_HOST: {host} is no address of this machine; 127.0.0.1 or 0.0.0.0 always are")
    if error.errno == errno.EACCES:
        return StartRefused(f"LITEVAULT_PORT: {port} needs more rights than this process has; take one above 1023")
    return NotReady(f"cannot listen on {host}:{port} ({error.strerror})")


def greeting(settings: Settings) -> str:
    """Where it listens, on what it runs, and what to do next."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    url = f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{settings.port}"
    llm = settings.llm
    model = f"litellm, {', '.join(llm.models)}" if llm.provider == "litellm" else "stub, which asks no model"
    lines = [
        f"LiteVault listens on {url}  (the API explained: {url}/docs)",
        f"  database  {name_of(settings.resolved_database_url)}",
        f"  provider  {model if llm.enabled else 'switched off by LITEVAULT_LLM_ENABLED'}",
    ]
    if not settings.worker_enabled:
        lines.append("  worker    none in this process: run `litevault worker` beside it")
    lines += [f"  beware    {complaint}" for complaint in unknown_variables()]
    if settings.dev_auth_allowed:
        header = "-H 'X-Dev-User-Id: me' -H 'Content-Type: application/json'"
        lines.append(f'Try:  curl {url}/api/v1/items {header} -d \'{{"rawText": "My first note"}}\'')
    else:
        lines.append(f"Try:  curl {url}/readyz")
    return "\n".join(lines)


def _serve_reloading(settings: Settings, listener: socket.socket) -> None:
    listener.close()  # it was only to see that the port is free: the reloader makes its own
    typer.echo(greeting(settings))
    uvicorn.run(
        "app.main:app",
        host=settings.host,
        port=settings.port,
        reload=True,
        app_dir=str(_BACKEND),
        reload_dirs=[str(_BACKEND / "app")],
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def _quieten(settings: Settings) -> None:
    """The greeting stands for uvicorn's own lines; of a failed start the reason is enough."""
    logger = logging.getLogger("uvicorn.error")
    if settings.log_level != "debug":
        logger.setLevel(max(logging.WARNING, logging.getLogger().level))
    logger.addFilter(lambda record: record.msg != "Application startup failed. Exiting.")
