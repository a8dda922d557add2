"""The commands and their options. Nothing of the application is imported up here, so that `--help` is quick."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
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
prompts = typer.Typer(help="What models are told: the templates and their versions.", no_args_is_help=True)
app.add_typer(prompts, name="prompts")
_AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
_PromptId = Annotated[str, typer.Argument(help="The prompt, for example enrichment.")]


class UsageBy(StrEnum):
    """As `analytics.usage.GroupBy`."""

    USER = "user"
    KEY = "key"
    PROVIDER = "provider"
    MODEL = "model"
    TASK = "task"
    PROMPT = "prompt"
    DAY = "day"


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
    """Say in a line each what is well, what is wrong, and how to mend it. Changes nothing.

    Each provider is asked for its list of models, which costs nothing, and each task of the routing must have a model.
    """
    from app.cli import report  # noqa: PLC0415 - see above

    raise typer.Exit(report.check_and_tell(live=live, as_json=as_json))


@app.command()
def usage(
    by: Annotated[UsageBy, typer.Option(help="Sum up for each of these.")] = UsageBy.DAY,
    since: Annotated[str | None, typer.Option("--from", help="The first day, UTC.  [30 days before the last]")] = None,
    until: Annotated[str | None, typer.Option("--to", help="The last day, UTC.  [today]")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="For spreadsheets.")] = False,
) -> None:
    """Say what was used and what it cost; what is unknown is counted beside the known sum. Changes nothing."""
    from app.cli import usage as command  # noqa: PLC0415 - see above

    with refusals_in_one_line():
        command.report_and_tell(by, since, until, form="json" if as_json else "csv" if as_csv else "table")


@app.command()
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove what LITEVAULT_KEEP_* no longer keep; a server does so by itself every hour."""
    from app.cli import sweep as command  # noqa: PLC0415 - see above

    with refusals_in_one_line():
        command.sweep_and_tell(dry_run=dry_run)


@credentials.command()
def rotate() -> None:
    """Encrypt every stored key anew under the newest encryption key; servers may run. Safe to repeat."""
    from app.cli import credentials as command  # noqa: PLC0415 - see above

    with refusals_in_one_line():
        raise typer.Exit(command.rotate_and_tell())


@credentials.command()
def new_key() -> None:
    """Print a new encryption key for LITEVAULT_SECRET_KEYS. Stores nothing."""
    from app.providers.credentials.secret_keys import new_key as make  # noqa: PLC0415 - see above

    typer.echo(make())


@prompts.command("list")
def list_prompts(as_json: _AsJson = False) -> None:
    """Every prompt and its version in use; of the database where there is one, else of the files."""
    from app.cli import prompts as command  # noqa: PLC0415 - see above

    with refusals_in_one_line():
        command.list_and_tell(as_json=as_json)


@prompts.command("show")
def show_prompt(
    prompt_id: _PromptId,
    version: Annotated[int | None, typer.Option(help="This version, not the one in use.")] = None,
    as_json: _AsJson = False,
) -> None:
    """A prompt's template, in the form of its file."""
    from app.cli import prompts as command  # noqa: PLC0415 - see above

    with refusals_in_one_line():
        command.show_and_tell(prompt_id, version, as_json=as_json)


@prompts.command("diff")
def compare_prompts(
    prompt_id: _PromptId,
    before: Annotated[int, typer.Argument(help="The number of one version.")],
    after: Annotated[int, typer.Argument(help="And of another one.")],
    as_json: _AsJson = False,
) -> None:
    """What one version has otherwise than another one."""
    from app.cli import prompts as command  # noqa: PLC0415 - see above

    with refusals_in_one_line():
        command.compare_and_tell(prompt_id, before, after, as_json=as_json)


@prompts.command("test")
def try_prompts(
    prompt_ids: Annotated[list[str] | None, typer.Argument(help="These prompts; none named: all.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask the configured model, for real and for money.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Run the cases beside the templates; a line for each that fails, and then exit code 1."""
    from app.cli import prompt_trials as command  # noqa: PLC0415 - see above

    with refusals_in_one_line():
        raise typer.Exit(command.try_and_tell(prompt_ids or [], live=live, as_json=as_json))
