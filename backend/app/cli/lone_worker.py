"""`litevault worker`: the workers of one process, without the API."""

import asyncio
import signal

import typer
import uvloop

from app.cli.variables import unknown_variables
from app.config import Settings, load_settings
from app.database_fault import name_of
from app.main import prepare_process, running
from app.migrations import migrate
from app.worker.crew import CrewState


def work() -> None:
    """Until a stop signal. Raises StartRefused, and typer.Exit when the workers died of a fault."""
    settings = load_settings()
    prepare_process(settings)
    migrate(settings.resolved_database_url)
    # asyncio would answer Ctrl-C by cancelling everything, the drain with it, but leaves this handler alone.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        state = runner.run(_work(settings))
    if state is CrewState.DEAD:
        typer.echo("litevault: the worker died; the log says of what", err=True)
        raise typer.Exit(1)


async def _work(settings: Settings) -> CrewState:
    async with running(settings, with_worker=True) as process:
        assert process.crew is not None  # noqa: S101 - asked for one line above
        typer.echo(
            f"LiteVault's worker works on {name_of(settings.resolved_database_url)}; SIGTERM or Ctrl-C drains it"
        )
        for complaint in unknown_variables():
            typer.echo(f"  beware    {complaint}")
        await process.crew.wait_stopped()
        return process.crew.state
