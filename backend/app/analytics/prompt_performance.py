"""How a prompt's versions did: what their calls took, and how people received what they proposed.

Each confirmation, edit and discard of an enriched item is a label of the version that the item names. A proposal was
edited when the person changed its title or summary or rejected one of its tags; a tag added beside them is no edit.
Counts only: nothing of a person's text is read out.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from app.analytics.prompt_calls import Calls, calls_of
from app.items.item import Action, Actor, ItemStatus
from app.web import WireModel


class VersionPerformance(WireModel):
    """`labels` is how many people's decisions are behind the rates, which are null without any."""

    version: int
    label: str
    labels: int
    confirmed_unchanged: int
    edited: int
    discarded: int
    waiting: int
    unchanged_rate: float | None
    discarded_rate: float | None
    calls: Calls


class PromptPerformance(WireModel):
    """The newest version first."""

    prompt_id: str
    versions: list[VersionPerformance]


def performance_of(session: Session, prompt_id: str, versions: list[int]) -> PromptPerformance:
    """Three statements, whatever the number of versions, calls and items."""
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    rows = session.execute(_counts(on_sqlite=on_sqlite), {"labels": f"{prompt_id}/%"})
    counts = {str(row["label"]): dict(row) for row in rows.mappings()}
    calls = calls_of(session, prompt_id)
    found = []
    for version in sorted(versions, reverse=True):
        label = f"{prompt_id}/{version}"
        found.append(_performance(version, label, counts.get(label, {}), calls.get(version, Calls())))
    return PromptPerformance(prompt_id=prompt_id, versions=found)


def _performance(version: int, label: str, found: Mapping[str, Any], calls: Calls) -> VersionPerformance:
    unchanged, edited, discarded, waiting = (
        int(found.get(name) or 0) for name in ("unchanged", "edited", "discarded", "waiting")
    )
    labels = unchanged + edited + discarded
    return VersionPerformance(
        version=version,
        label=label,
        labels=labels,
        confirmed_unchanged=unchanged,
        edited=edited,
        discarded=discarded,
        waiting=waiting,
        unchanged_rate=unchanged / labels if labels else None,
        discarded_rate=discarded / labels if labels else None,
        calls=calls,
    )


@cache
def _counts(*, on_sqlite: bool) -> TextClause:
    """By label. An edit counts since the last time that the worker proposed something."""
    label = "json_extract(i.enrichment, '$.promptVersion')" if on_sqlite else "i.enrichment ->> 'promptVersion'"
    rejected = (
        "EXISTS (SELECT 1 FROM json_each(i.suggestions) AS s WHERE json_extract(s.value, '$.status') = 'REJECTED')"
        if on_sqlite
        else """i.suggestions @> '[{"status": "REJECTED"}]'"""
    )
    changed = (
        "(json_type(e.changes, '$.title') IS NOT NULL OR json_type(e.changes, '$.summary') IS NOT NULL)"
        if on_sqlite
        else "(jsonb_exists(e.changes, 'title') OR jsonb_exists(e.changes, 'summary'))"
    )
    return text(
        f"""
        SELECT label,
            sum(CASE WHEN status = '{ItemStatus.ARCHIVED}' AND NOT is_edited THEN 1 ELSE 0 END) AS unchanged,
            sum(CASE WHEN status = '{ItemStatus.ARCHIVED}' AND is_edited THEN 1 ELSE 0 END) AS edited,
            sum(CASE WHEN status = '{ItemStatus.DISCARDED}' THEN 1 ELSE 0 END) AS discarded,
            sum(CASE WHEN status = '{ItemStatus.READY_TO_CONFIRM}' THEN 1 ELSE 0 END) AS waiting
        FROM (
            SELECT {label} AS label, i.status, {rejected} OR EXISTS (
                SELECT 1 FROM item_events AS e
                WHERE e.item_id = i.id AND e.actor = '{Actor.PERSON}' AND {changed} AND e.seq > (
                    SELECT coalesce(max(f.seq), 0) FROM item_events AS f
                    WHERE f.item_id = i.id AND f.action = '{Action.FINISH}'
                )
            ) AS is_edited
            FROM items AS i WHERE {label} LIKE :labels
        ) AS decided
        GROUP BY label
        """  # noqa: S608 - names from our own code
    )
