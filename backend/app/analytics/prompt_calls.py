"""What the calls of a prompt's versions took, from the books: tokens, money, time, and answers that had not the form.

Costs are summed over the calls whose price is known; how many were not stands beside the sum. What was folded away of
the ledger is in the sums; faults and latencies were not kept of it, and `detailed_since` says so.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.database import from_pico
from app.llm.attempts import AttemptOutcome
from app.web import WireModel


class Calls(WireModel):
    """Of one version. `made` are calls that left, re-asks and fallbacks among them; latencies are of whole answers.

    `cost_usd` is null when the cost of no call is known; `unpriced` calls are not in it. `invalid_answers`, `failed`
    and the latencies are of the calls from the day `detailed_since` on (UTC); null: of all of them.
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
    detailed_since: date | None = None


def calls_of(session: Session, prompt_id: str) -> Mapping[int, Calls]:
    """By version, in two statements; a version that was never called is missing."""
    binds = {"prompt_id": prompt_id}
    found = {int(row["version"]): dict(row) for row in session.execute(_CALLS, binds).mappings()}
    folded = {int(row["version"]): dict(row) for row in session.execute(_FOLDED, binds).mappings()}
    return {version: _calls(found.get(version, {}), folded.get(version, {})) for version in found | folded}


def _calls(row: Mapping[str, Any], folded: Mapping[str, Any]) -> Calls:
    counts = {name: int(row.get(name) or 0) + int(folded.get(name) or 0) for name in _COUNTS}
    times: dict[str, Any] = {name: row.get(name) for name in ("latency_p50_ms", "latency_p95_ms")}
    is_known = counts["unpriced"] < counts["made"]
    pico = int(row.get("cost_pico") or 0) + int(folded.get("cost_pico") or 0)
    last = folded.get("last_day")
    return Calls(
        **counts,
        **times,
        cost_usd=float(from_pico(pico)) if is_known else None,
        detailed_since=None if last is None else date.fromisoformat(last) + timedelta(days=1),
    )


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
_FOLDED = text(
    """
    SELECT prompt_version AS version, sum(calls) AS made, sum(cached) AS answered_from_cache,
        sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_pico,
        sum(unknown_costs) AS unpriced, max(day) AS last_day
    FROM llm_usage_days WHERE prompt_id = :prompt_id AND prompt_version IS NOT NULL GROUP BY prompt_version
    """
)
