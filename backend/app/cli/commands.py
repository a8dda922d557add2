"""The commands and their options. Nothing of the application is imported up here, so that `--help` is quick."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated

import typer

from app.errors import StartRefused

_EPILOG = (
    "Settings come from LITEVAULT_* in the environment or in .env; .env.example explains each. "
    "Exit codes: 0 well; 1 something around it is not ready; 2 a setting or an option is wrong."
)

app = typer.Typer(
    name="litevault",
    help="Captures notes and articles, lets a language model enrich them, and leaves the decision to a person.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

credentials = typer.Typer(help="The encryption of the providers' keys in the database.", no_args_is_help=True)
app.add_typer(credentials, name="credentials")


def main() -> None:
    app()


@contextmanager
def refusals_in_one_line() -> Iterator[None]:
    """Whoever starts the program wrongly needs the sentence, not the way that the error took."""
    try:
        yield
    except StartRefused as refusal:
        typer.echo(f"litevault: {refusal}", err=True)
        raise typer.Exit(refusal.exit_code) from None


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"litevault {version('litevault')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Say which release this is.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Listen here.  [LITEVAULT_HOST, else 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="And on this port.  [LITEVAULT_PORT, else 8080]")] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when the code changes.")] = False,
) -> None:
    """Serve the API, with a worker in the same process; migrates the database first."""
    from app.cli import server  # noqa: PLC0415 - see above

    with refusals_in_one_line():
        server.serve(host=host, port=port, reload=reload)


@app.command()
def worker() -> None:
    """Enrich what others capture: a worker without the API. SIGTERM drains, a second one cuts that short."""
    from app.cli import lone_worker  # noqa: PLC0415 - see above

    with refusals_in_one_line():
        lone_worker.work()


@app.command()
def migrate(
    revision: Annotated[str, typer.Option(help="Go up to this revision.")] = "head",
) -> None:
    """Bring the database up to date. `serve` and `worker` do so themselves."""
    from app.cli import migration  # noqa: PLC0415 - see above

    with refusals_in_one_line():
        typer.echo(migration.migrate_and_tell(revision))


@app.command()
def check(
    live: Annotated[bool, typer.Option("--live", help="Also ask the model once, for real and for money.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say in a line each what is well, what is wrong, and how to mend it. Changes nothing."""
    from app.cli import report  # noqa: PLC0415 - see above

    raise typer.Exit(report.check_and_tell(live=live, as_json=as_json))


@credentials.command()
def rotate() -> None:
    """Encrypt every stored key anew under the newest encryption key; servers may run. Safe to repeat."""
    from app.cli import credentials as command  # noqa: PLC0415 - see above

    with refusals_in_one_line():
        raise typer.Exit(command.rotate_and_tell())


@credentials.command()
def new_key() -> None:
    """Print a new encryption key for LITEVAULT_SECRET_KEYS. Stores nothing."""
    from app.providers.secret_keys import new_key as make  # noqa: PLC0415 - see above

    typer.echo(make())
