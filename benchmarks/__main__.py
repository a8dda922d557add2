"""`python -m benchmarks`: every measurement in turn, each in a process of its own, and a table at the end."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import orjson

from benchmarks.figure import Figure, print_table
from benchmarks.measurements.api import api
from benchmarks.measurements.backlog import backlog
from benchmarks.measurements.cached import cached
from benchmarks.measurements.compression import compression
from benchmarks.measurements.drain import drain, efficiency
from benchmarks.measurements.fairness import fairness
from benchmarks.measurements.footprint import footprint
from benchmarks.measurements.gateway import gateway
from benchmarks.measurements.models import models
from benchmarks.measurements.pickup import pickup
from benchmarks.measurements.restart import restart
from benchmarks.run import ENGINES, Measurement, run_alone

MEASUREMENTS: dict[str, Measurement] = {
    "drain": drain,
    "efficiency": efficiency,
    "models": models,
    "pickup": pickup,
    "backlog": backlog,
    "restart": restart,
    "fairness": fairness,
    "api": api,
    "footprint": footprint,
    "compression": compression,
    "cached": cached,
    "gateway": gateway,
}
# It installs a peer from the network: `make bench-gateway` asks for it.
_ON_REQUEST = frozenset({"gateway"})
_LIMIT_SECONDS = 1800


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    if chosen.list:
        for name, measurement in MEASUREMENTS.items():
            print(f"{name:<12} {(measurement.__doc__ or '').strip()}")
        return 0
    if chosen.alone:
        figures = run_alone(MEASUREMENTS[chosen.alone], short=chosen.short, engines=_engines(chosen))
        chosen.json.write_bytes(orjson.dumps([_fields(figure) for figure in figures]))
        return 0
    figures, failed = [], []
    with tempfile.TemporaryDirectory(prefix="litevault-bench-") as folder:
        for name in chosen.only or [name for name in MEASUREMENTS if name not in _ON_REQUEST]:
            print(f"{name}: {(MEASUREMENTS[name].__doc__ or '').strip()}", flush=True)
            found = _measure_apart(name, chosen, Path(folder))
            figures += found
            failed += [] if found else [name]
    print_table(figures)
    if chosen.json:
        chosen.json.write_bytes(orjson.dumps([figure.as_json() for figure in figures], option=orjson.OPT_INDENT_2))
    if failed:
        print(f"did not come to an end: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="the names, and what each measures")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, metavar="NAME", help="this one; repeatable")
    parser.add_argument("--engine", choices=ENGINES, help="this engine alone")
    parser.add_argument("--short", action="store_true", help="less of everything, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON too")
    parser.add_argument("--alone", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    return parser


def _engines(chosen: argparse.Namespace) -> tuple[str, ...]:
    return (chosen.engine,) if chosen.engine else ENGINES


def _measure_apart(name: str, chosen: argparse.Namespace, folder: Path) -> list[Figure]:
    """The figures of one measurement; none when it failed, and then the end of its log is shown."""
    result, log = folder / f"{name}.json", folder / f"{name}.log"
    command = [sys.executable, "-m", "benchmarks", "--alone", name, "--json", str(result)]
    command += ["--short"] if chosen.short else []
    command += ["--engine", chosen.engine] if chosen.engine else []
    with log.open("wb") as errors:
        code = subprocess.run(command, stderr=errors, check=False, timeout=_LIMIT_SECONDS).returncode
    if code != 0:
        print(f"  {name} failed; its last words:", *log.read_text(errors="replace").splitlines()[-20:], sep="\n  ")
        return []
    return [Figure(**fields) for fields in orjson.loads(result.read_bytes())]


def _fields(figure: Figure) -> dict[str, object]:
    fields = figure.as_json()
    del fields["ratio"], fields["met"]
    return fields


if __name__ == "__main__":
    sys.exit(main())
