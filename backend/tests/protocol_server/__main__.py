"""`python -m tests.protocol_server`: the fake upstream as a process of its own, for chaos runs and people.

Prints one line with its address when it listens; SIGTERM and SIGINT end it with status 0.
"""

import argparse
import asyncio
import signal
from pathlib import Path

import uvloop

from tests.protocol_server.choice import TRANSIENT_MIX, Mix
from tests.protocol_server.faults.table import ALL_FAULTS, parse_expression
from tests.protocol_server.server import ProtocolServer


def _weights(text: str) -> dict[str, float]:
    """`500:2,429_retry_after=1:3` as a table. Raises ValueError."""
    weights = {}
    for part in text.split(","):
        expression, _, weight = part.strip().rpartition(":")
        parse_expression(expression)
        weights[expression] = float(weight)
    return weights


def _expression(text: str) -> str:
    parse_expression(text)
    return text


def _fault_lines() -> str:
    lines = [
        f"  {f.name + (f'={f.default:g}' if f.default is not None else ''):<20} {f.summary}"
        for f in ALL_FAULTS.values()
    ]
    return "\n".join(["faults (name=default parameter; join with +, ok is none):", *lines])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.protocol_server",
        description="A fake upstream on the loopback address: OpenAI's and Anthropic's wire, faults on demand. "
        "A note picks its own fate with [[fault:500,500,ok]] in its text: one fault for each call, the last stays.",
        epilog=_fault_lines(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="before every answer")
    parser.add_argument("--default", type=_expression, default="ok", metavar="FAULT", help="of calls left alone")
    parser.add_argument("--fault-rate", type=float, default=0.0, metavar="SHARE", help="of calls with a fault, 0 to 1")
    parser.add_argument(
        "--weights",
        type=_weights,
        default=dict(TRANSIENT_MIX),
        metavar="FAULT:N,...",
        help="of the faults drawn",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the faults drawn")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append every call as JSON lines")
    return parser


async def _run(options: argparse.Namespace) -> None:
    mix = Mix(options.fault_rate, options.seed, options.weights) if options.fault_rate > 0 else None
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = ProtocolServer(
        port=options.port,
        latency_seconds=options.latency,
        log_path=options.log,
        mix=mix,
        default=options.default,
    )
    async with server:
        print(f"listening on {server.base_url}", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    uvloop.run(_run(_parser().parse_args()))
