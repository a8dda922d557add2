"""What the calls of a prompt's versions took, from the books: tokens, money, time, and answers that had not the form.

Costs are summed over the calls whose price is known; how many were not stands beside the sum.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.database import from_pico
from app.llm.attempts import AttemptOutcome
from app.web import WireModel


class Calls(WireModel):
    """Of one version. `made` are calls that left, re-asks and fallbacks among them; latencies are of whole answers.

    `cost_usd` is null when the cost of no call is known; `unpriced` calls are not in it.
    """

    made: int = 0
    answered_from_cache: int = 0
    invalid_answers: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    unpriced: int = 0
    latency_p50_ms: int | None = None
    latency_p95_ms: int | None = None


def calls_of(session: Session, prompt_id: str) -> Mapping[int, Calls]:
    """By version, in one statement; a version that was never called is missing."""
    rows = session.execute(_CALLS, {"prompt_id": prompt_id}).mappings()
    return {int(row["version"]): _calls(dict(row)) for row in rows}


def _calls(row: Mapping[str, Any]) -> Calls:
    counts = {name: int(row[name] or 0) for name in _COUNTS}
    times = {name: row[name] for name in ("latency_p50_ms", "latency_p95_ms")}
    pico = row["cost_pico"]
    return Calls(**counts, **times, cost_usd=None if pico is None else float(from_pico(int(pico))))


_COUNTS = ("made", "answered_from_cache", "invalid_answers", "failed", "input_tokens", "output_tokens", "unpriced")
_NO_CALL = f"'{AttemptOutcome.CACHED}', '{AttemptOutcome.UNUSED}'"
# Nearest rank: the first latency with that part of all at or below it. SQLite has no percentiles of its own.
_CALLS = text(
    f"""
    SELECT version, count(CASE WHEN was_made THEN 1 END) AS made,
        count(CASE WHEN outcome = '{AttemptOutcome.CACHED}' THEN 1 END) AS answered_from_cache,
        count(CASE WHEN outcome = '{AttemptOutcome.INVALID}' THEN 1 END) AS invalid_answers,
        count(CASE WHEN outcome = '{AttemptOutcome.ERROR}' THEN 1 END) AS failed,
        sum(CASE WHEN was_made THEN input_tokens END) AS input_tokens,
        sum(CASE WHEN was_made THEN output_tokens END) AS output_tokens,
        sum(CASE WHEN was_made THEN cost_usd END) AS cost_pico,
        count(CASE WHEN was_made AND cost_usd IS NULL THEN 1 END) AS unpriced,
        min(CASE WHEN is_timed AND place >= 0.50 * timed THEN latency_ms END) AS latency_p50_ms,
        min(CASE WHEN is_timed AND place >= 0.95 * timed THEN latency_ms END) AS latency_p95_ms
    FROM (
        SELECT *, row_number() OVER (PARTITION BY version, is_timed ORDER BY latency_ms) AS place,
            count(CASE WHEN is_timed THEN 1 END) OVER (PARTITION BY version) AS timed
        FROM (
            SELECT prompt_version AS version, outcome, input_tokens, output_tokens, cost_usd, latency_ms,
                outcome NOT IN ({_NO_CALL}) AS was_made,
                outcome = '{AttemptOutcome.OK}' AND latency_ms IS NOT NULL AS is_timed
            FROM llm_attempts WHERE prompt_id = :prompt_id AND prompt_version IS NOT NULL AND outcome IS NOT NULL
        ) AS ended
    ) AS ranked
    GROUP BY version
    """  # noqa: S608 - names from our own code
)
