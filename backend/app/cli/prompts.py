"""`litevault prompts list`, `show` and `diff`: what models are told, as people read it or as JSON. Changes nothing."""

import asyncio
import json

import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from app.cli.migration import revision_of
from app.config import Settings, load_settings
from app.database import Database
from app.errors import NotFound, StartRefused
from app.logs import configure_logs
from app.migrations import newest_revision
from app.prompts.comparison import as_yaml, changes, unified
from app.prompts.prompt_version import PromptVersion, content_of
from app.prompts.registry import PromptRegistry, as_in_files


def list_and_tell(*, as_json: bool) -> None:
    prompts = [(prompt, prompt.versions[prompt.current]) for prompt in open_prompts(load_settings()).prompts()]
    if as_json:
        typer.echo(
            json.dumps(
                [
                    {
                        "id": prompt.id,
                        "category": used.category,
                        "version": used.version,
                        "versions": [*prompt.versions],
                    }
                    for prompt, used in prompts
                ]
            )
        )
        return
    table = Table("prompt", "category", "in use", "versions", "cases", box=None)
    for prompt, used in prompts:
        table.add_row(prompt.id, used.category, used.label, str(len(prompt.versions)), str(len(prompt.cases)))
    Console().print(table)


def show_and_tell(prompt_id: str, version: int | None, *, as_json: bool) -> None:
    found = find(open_prompts(load_settings()), prompt_id, version)
    content = content_of(found.body, found.messages)
    if as_json:
        typer.echo(json.dumps({"label": found.label, **content}, ensure_ascii=False))
        return
    _print(f"# {found.label}, category {found.category}\n{as_yaml(content)}", "yaml")


def compare_and_tell(prompt_id: str, before: int, after: int, *, as_json: bool) -> None:
    registry = open_prompts(load_settings())
    old, new = find(registry, prompt_id, before), find(registry, prompt_id, after)
    contents = content_of(old.body, old.messages), content_of(new.body, new.messages)
    if as_json:
        found = [{"path": path, "kind": kind} for path, kind in changes(*contents)]
        typer.echo(json.dumps({"from": old.label, "to": new.label, "changes": found}))
        return
    _print(unified(*contents, (old.label, new.label)) or f"{old.label} and {new.label} are equal", "diff")


def open_prompts(settings: Settings) -> PromptRegistry:
    """As the database has them, where there is one of this release; else as in the files. Raises StartRefused."""
    configure_logs("error", settings.log_format)
    registry = as_in_files(settings.environment, settings.prompts_dir)
    asyncio.run(_refresh(settings.resolved_database_url, registry))
    return registry


async def _refresh(url: str, registry: PromptRegistry) -> None:
    if await revision_of(url) != newest_revision():
        return
    database = Database(url)
    await database.start()
    try:
        await registry.refresh(database)
    finally:
        await database.close()


def find(registry: PromptRegistry, prompt_id: str, version: int | None = None) -> PromptVersion:
    """Raises StartRefused, which a command tells in one line."""
    try:
        return registry.get(prompt_id, version)
    except NotFound:
        known = ", ".join(prompt.id for prompt in registry.prompts())
        named = prompt_id if version is None else f"{prompt_id}/{version}"
        raise StartRefused(f"there is no prompt {named}; litevault prompts list shows what there is: {known}") from None


def _print(text: str, language: str) -> None:
    console = Console()
    if console.is_terminal:
        console.print(Syntax(text, language, background_color="default", word_wrap=True))
    else:
        typer.echo(text)
