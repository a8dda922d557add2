"""`litevault usage`: what was used and spent, as people read it, as JSON or as CSV. Changes nothing."""

import asyncio
import csv
import json
import sys
from dataclasses import asdict, fields
from datetime import date, timedelta
from functools import partial
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from app.analytics.usage import GroupBy, Usage, usage
from app.clock import utc_now
from app.config import load_settings
from app.database import Database
from app.database_fault import refusal_of
from app.errors import ServiceUnavailable, SettingsRefused
from app.spending.schemas import exact


def report_and_tell(by: str, since: str | None, until: str | None, *, form: str) -> None:
    """`form` is table, json or csv. Raises StartRefused."""
    last = _day(until, "--to") or utc_now().date()
    first = _day(since, "--from") or last - timedelta(days=30)
    found = asyncio.run(_read(GroupBy(by), first, last))
    if form == "json":
        typer.echo(json.dumps([_plain(entry) for entry in found]))
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Usage)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(_plain(entry) for entry in found)
    else:
        _print(by, found)


def _print(by: str, found: list[Usage]) -> None:
    heads = ("calls", "cached", "cost USD", "of unknown cost", "input tokens", "output tokens", "saved USD")
    table = Table(by, *heads, box=None)
    for entry in found:
        numbers = (entry.calls, entry.cached, exact(entry.cost_usd), entry.unknown_costs)
        tokens = (entry.input_tokens, entry.output_tokens)
        table.add_row(entry.name or "–", *map(str, (*numbers, *tokens, exact(entry.saved_usd))))
    Console().print(table)


def _plain(entry: Usage) -> dict[str, Any]:
    return {**asdict(entry), "cost_usd": exact(entry.cost_usd), "saved_usd": exact(entry.saved_usd)}


def _day(written: str | None, option: str) -> date | None:
    try:
        return None if written is None else date.fromisoformat(written)
    except ValueError:
        raise SettingsRefused([f"{option}: must be a day as 2026-01-31"]) from None


async def _read(by: GroupBy, since: date, until: date) -> list[Usage]:
    url = load_settings().resolved_database_url
    database = Database(url)
    await database.start()
    try:
        return await database.read(partial(usage, by=by, since=since, until=until))
    except ServiceUnavailable as error:
        raise refusal_of(error, url) from None
    finally:
        await database.close()
