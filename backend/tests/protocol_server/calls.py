"""The fake's own book of calls: what arrived, what it did about it, what a vendor would bill.

Invariants: a call is in the book before the first byte of its answer leaves; a line of the file is written
with one unbuffered write, so a kill loses no call that had arrived; keys and texts are here as SHA-256 only.
"""

import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import orjson

from tests.protocol_server.answers import Ask, digest_of


@dataclass(slots=True)
class Call:
    """One completion request. `run` is one life of the server: (`run`, `seq`) is unique in a file of several.

    `status` is the one sent or about to be sent, 0 where no header leaves. `ended_at` is None while the call
    is open; `first_byte_monotonic` stays empty where nothing left. `chunks_sent` counts the pieces of text of a
    stream. `is_complete`: the whole of a generated answer, in a stream up to its finish reason, was handed to
    the connection; `has_hung_up`: the client left before its last byte. The bill counts an answer as generated
    when the call arrives: who hangs up while it is on its way pays all the same. `text_sha256` is of the last
    user message, `first_text_sha256` of the first, which a re-ask does not change.
    """

    run: str
    seq: int
    arrived_at: datetime
    arrived_monotonic: float
    path: str
    model: str
    mode: str
    messages: int
    text_sha256: str
    first_text_sha256: str
    correlation_id: str | None
    key_sha256: str | None
    fault: str
    status: int = 0
    answer_id: str | None = None
    billed_input_tokens: int = 0
    billed_output_tokens: int = 0
    ended_at: datetime | None = None
    ended_monotonic: float | None = None
    has_hung_up: bool = False
    wire: str = "openai"
    is_stream: bool = False
    first_byte_monotonic: float | None = None
    chunks_sent: int = 0
    is_complete: bool = False

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """From a line of the file or an element of GET /control/calls."""
        times = {name: record[name] and datetime.fromisoformat(record[name]) for name in ("arrived_at", "ended_at")}
        return cls(**{**record, **times})


class CallBook:
    """Calls of one server, in memory and in a file. Written on the server's loop, read from any thread."""

    def __init__(self, log_path: Path | None = None) -> None:
        self.run = uuid4().hex[:12]
        self._file = log_path.open("ab", buffering=0) if log_path is not None else None
        self._idle = threading.Event()
        self._idle.set()
        self._seq = 0
        self._open = 0
        self.forget()

    def forget(self) -> None:
        """Empty the memory, not the file. Sequence numbers go on."""
        self.calls: list[Call] = []
        self.peak_open = self._open

    def arrive(self, ask: Ask, path: str, fault: str, wire: str) -> Call:
        """Open the call. The caller fills in status and bill, then writes it with `record`."""
        self._seq += 1
        self._open += 1
        self.peak_open = max(self.peak_open, self._open)
        self._idle.clear()
        first_digest = digest_of(ask.first_text)
        return Call(
            run=self.run,
            seq=self._seq,
            arrived_at=datetime.now(UTC),
            arrived_monotonic=time.monotonic(),
            path=path,
            model=ask.model,
            mode=ask.mode,
            messages=ask.messages,
            text_sha256=first_digest if len(ask.user_texts) == 1 else digest_of(ask.last_text),
            first_text_sha256=first_digest,
            correlation_id=ask.correlation_id,
            key_sha256=digest_of(ask.key) if ask.key is not None else None,
            fault=fault,
            wire=wire,
            is_stream=ask.stream,
        )

    def record(self, call: Call) -> None:
        self.calls.append(call)
        self._write(call)

    def note_first_byte(self, call: Call) -> None:
        """Safe to repeat, the first one counts."""
        if call.first_byte_monotonic is None:
            call.first_byte_monotonic = time.monotonic()

    def end(self, call: Call, *, has_hung_up: bool) -> None:
        """Close the call; safe to repeat, the first end counts."""
        if call.ended_at is not None:
            return
        call.has_hung_up = has_hung_up
        call.ended_monotonic = time.monotonic()
        call.ended_at = datetime.now(UTC)
        self._write(call)
        self._open -= 1
        if self._open == 0:
            self._idle.set()

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Whether no call was open within the time. Blocks: not for the server's own loop."""
        return self._idle.wait(timeout_seconds)

    def stats(self) -> dict[str, object]:
        calls = list(self.calls)
        return {
            "run": self.run,
            "calls": len(calls),
            "open": self._open,
            "peak_open": self.peak_open,
            "hung_up": sum(call.has_hung_up for call in calls),
            "billed_input_tokens": sum(call.billed_input_tokens for call in calls),
            "billed_output_tokens": sum(call.billed_output_tokens for call in calls),
            "by_fault": Counter(call.fault for call in calls),
            "by_model": Counter(call.model for call in calls),
            "by_status": Counter(str(call.status) for call in calls),
        }

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, call: Call) -> None:
        if self._file is not None:
            self._file.write(orjson.dumps(call, option=orjson.OPT_APPEND_NEWLINE))


def read_calls(log_path: Path) -> list[Call]:
    """The calls of a log file in order of arrival, each in its latest state, less a line torn by a kill."""
    calls: dict[tuple[str, int], Call] = {}
    for line in log_path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            call = Call.from_record(orjson.loads(line))
            calls[call.run, call.seq] = call
    return list(calls.values())
