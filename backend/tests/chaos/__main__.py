"""`python -m tests.chaos`: the command."""

import argparse
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.operations import Verdict
from tests.chaos.oracle.verdict import judge
from tests.chaos.run import Outcome, run
from tests.chaos.scenario import Engine, Provider, Scenario, plan_blows, scenario
from tests.postgres_cluster import PostgresUnavailableError

_EPILOG = """
Each run starts real servers (three on PostgreSQL, one on SQLite), loads them over HTTP, kills, stops, terminates and
restarts them and the database, lets them come to rest and judges what is left: nothing stuck, no discard lost, no
late write, no call that was not booked before, the ledger equal to the upstream's own log.

The seed fixes the blows, the load's decisions and the upstream's faults; how they interleave is up to the machine.
Exit code 1 with a line for each violation; then the folder with all logs is kept.
"""
_SHORT: tuple[tuple[Engine, Provider, float], ...] = (("sqlite", "litellm", 10.0), ("postgresql", "stub", 8.0))
_SHOWN = 40


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    violations = 0
    for chosen in _scenarios(options, seed):
        try:
            violations += _run_one(chosen)
        except PostgresUnavailableError as error:
            _say(f"tests.chaos: {error}")
            return 2
    _say(f"seed {seed}: " + (f"{violations} violations" if violations else "no violation"))
    return 1 if violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Kill, pause and restart everything under load, then look for what was lost.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--short", action="store_true", help="for CI: SQLite with litellm, PostgreSQL with the stub")
    parser.add_argument("--seed", type=int, metavar="N", help="of a run to repeat; drawn and printed by default")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="N", help="of load for each run (default 60)")
    parser.add_argument("--engine", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--provider", choices=["litellm", "stub"], help="default: litellm, then stub")
    return parser


def _scenarios(options: argparse.Namespace, seed: int) -> list[Scenario]:
    if options.short:
        return [scenario(engine, provider, seconds=seconds, seed=seed) for engine, provider, seconds in _SHORT]
    engines: list[Engine] = ["sqlite", "postgresql"] if options.engine == "both" else [options.engine]
    providers: list[Provider] = [options.provider] if options.provider else ["litellm", "stub"]
    return [
        scenario(engine, provider, seconds=options.seconds, seed=seed) for engine in engines for provider in providers
    ]


def _run_one(chosen: Scenario) -> int:
    """The number of violations."""
    blows = plan_blows(chosen)
    _say(
        f"{chosen.name}: seed {chosen.seed}, {chosen.servers} servers, {chosen.seconds:g} s, {len(blows)} blows planned"
    )
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="litevault-chaos-"))
    outcome = run(chosen, folder, _say)
    violations = judge(outcome.evidence)
    _say(f"{chosen.name}: {_figures(outcome)}, {time.monotonic() - began:.0f} s")
    for violation in violations[:_SHOWN]:
        _say(f"VIOLATION {chosen.name} seed {chosen.seed}: {violation}")
    if len(violations) > _SHOWN:
        _say(f"… and {len(violations) - _SHOWN} more")
    if violations:
        _say(f"{chosen.name}: the logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return len(violations)


def _figures(outcome: Outcome) -> str:
    found = outcome.evidence
    blows = ", ".join(f"{count} × {blow}" for blow, count in sorted(outcome.blows.items()))
    calls = "no upstream" if found.calls is None else f"{len(found.calls)} calls"
    answers = ", ".join(f"{found.log.count(verdict)} {verdict}" for verdict in Verdict)
    rest = "never" if outcome.seconds_to_rest is None else f"{outcome.seconds_to_rest:.1f} s"
    return (
        f"{len(found.items)} items, {len(found.attempts)} attempts, {calls}; operations: {answers}; blows: {blows};"
        f" rest after {rest}"
    )


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
