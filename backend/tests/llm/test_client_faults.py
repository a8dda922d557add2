"""The table of faults: fault → our error → code → number of calls → tokens on the books; both modes."""

import logging
import traceback
from dataclasses import dataclass

import pytest

from app.errors import (
    LLMAnswerTooLarge,
    LLMApiError,
    LLMAuthRefused,
    LLMContentRefused,
    LLMContextTooLong,
    LLMError,
    LLMInvalidAnswer,
    LLMModelNotFound,
    LLMRateLimited,
    LLMTimeout,
    LLMUnreachable,
)
from app.llm.attempts import AttemptOutcome
from app.llm.faults import QUOTA_WAIT_SECONDS
from tests.llm.conftest import MakeClient
from tests.llm.recorder import KEY, SENTENCE, Recorder, billed, request
from tests.protocol_server.faults.table import FAULTS
from tests.protocol_server.server import ProtocolServer

MODES = ["tools", "json_schema"]
TIMEOUT_SECONDS = 0.6


@dataclass(frozen=True)
class Row:
    """`is_lost`: the answer was made and billed, but never reached us, so its tokens are unknown here."""

    fault: str
    error: type[LLMError] | None
    code: str = ""
    calls: tuple[int, int] = (1, 1)
    is_lost: bool = False
    retry_after: float | None = None


FREE = "LLM_API_ERROR"
BAD = "LLM_VALIDATION_ERROR"
TABLE = [
    Row("ok", None),
    Row("400", LLMApiError, FREE),
    Row("400_policy", LLMContentRefused, "LLM_CONTENT_REFUSED"),
    Row("400_context", LLMContextTooLong, "LLM_CONTEXT_TOO_LONG"),
    Row("401", LLMAuthRefused, "LLM_AUTH"),
    Row("403", LLMAuthRefused, "LLM_AUTH"),
    Row("404", LLMModelNotFound, "LLM_MODEL_NOT_FOUND"),
    Row("408", LLMUnreachable, FREE, is_lost=True),
    Row("429", LLMRateLimited, "LLM_RATE_LIMITED"),
    Row("429_quota", LLMRateLimited, "LLM_RATE_LIMITED", retry_after=QUOTA_WAIT_SECONDS),
    Row("429_retry_after=7", LLMRateLimited, "LLM_RATE_LIMITED", retry_after=7),
    Row("429_retry_date=30", LLMRateLimited, "LLM_RATE_LIMITED", retry_after=29),
    Row("500", LLMUnreachable, FREE),
    Row("503", LLMUnreachable, FREE),
    Row("503_retry_after=7", LLMUnreachable, FREE, retry_after=7),
    Row("529", LLMUnreachable, FREE),
    Row("latency=0.1", None),
    Row("slow_headers=0.2", None),
    Row("slow_body=0.2", None),
    Row("reset", LLMUnreachable, FREE, is_lost=True),
    Row("reset_body", LLMUnreachable, FREE, is_lost=True),
    Row("hang_headers", LLMTimeout, "LLM_TIMEOUT", is_lost=True),
    Row("hang_body", LLMTimeout, "LLM_TIMEOUT", is_lost=True),
    Row("empty", LLMInvalidAnswer, BAD, calls=(3, 3)),
    Row("prose", LLMInvalidAnswer, BAD, calls=(3, 3)),
    Row("fenced", LLMInvalidAnswer, BAD, calls=(3, 0)),
    Row("think", None),
    Row("content_filter", LLMContentRefused, "LLM_CONTENT_REFUSED"),
    Row("refusal", LLMContentRefused, "LLM_CONTENT_REFUSED"),
    Row("cut", LLMInvalidAnswer, BAD),
    Row("tags_2", LLMInvalidAnswer, BAD, calls=(3, 3)),
    Row("tags_7", LLMInvalidAnswer, BAD, calls=(3, 3)),
    Row("tags_messy", None),
    Row("long_title", LLMInvalidAnswer, BAD, calls=(3, 3)),
    Row("nul_title", LLMInvalidAnswer, BAD, calls=(3, 3)),
    Row("wrong_source_type", LLMInvalidAnswer, BAD, calls=(3, 3)),
    Row("huge=9", LLMAnswerTooLarge, BAD, is_lost=True),
    Row("cached", None),
    Row("cache_write", None),
    Row("no_usage", None, is_lost=True),
    Row("html", LLMUnreachable, FREE, is_lost=True),
    Row("invalid_json", LLMUnreachable, FREE, is_lost=True),
]


def test_every_fault_of_the_server_has_its_row() -> None:
    assert {row.fault.partition("=")[0] for row in TABLE} == {"ok", *FAULTS}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.fault)
async def test_a_fault_has_its_error_its_calls_and_its_tokens(
    row: Row, mode: str, upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client, recorder = await make_client(structured_mode=mode), Recorder()
    upstream.set_default(row.fault)
    # A fence is read in JSON mode, where the answer is text anyway.
    error = None if row.calls[MODES.index(mode)] == 0 else row.error

    outcome = await _outcome(client.extract(request(timeout_seconds=TIMEOUT_SECONDS), recorder))

    assert type(outcome) is (error or type(None))
    assert len(upstream.calls) == len(recorder.attempts) == (row.calls[MODES.index(mode)] or 1)
    assert recorder.closed == recorder.attempts
    if outcome is not None:
        assert outcome.code == row.code
        assert outcome.retry_after_seconds == pytest.approx(row.retry_after, abs=2)
    expected = [(None, None)] if row.is_lost else billed(upstream.calls)
    assert recorder.tokens == expected
    assert recorder.attempts[-1].outcome is _expected_outcome(outcome)


async def _outcome(extraction: object) -> LLMError | None:
    try:
        await extraction  # type: ignore[misc]
    except LLMError as error:
        return error
    return None


def _expected_outcome(error: LLMError | None) -> AttemptOutcome:
    if error is None:
        return AttemptOutcome.OK
    return AttemptOutcome.INVALID if isinstance(error, LLMInvalidAnswer) else AttemptOutcome.ERROR


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("row", [row for row in TABLE if row.error], ids=lambda row: row.fault)
async def test_no_fault_lets_the_key_or_the_text_out(
    row: Row,
    mode: str,
    upstream: ProtocolServer,
    make_client: MakeClient,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    client = await make_client(structured_mode=mode)
    upstream.set_default(row.fault)
    _listen_to_everything(caplog)

    error = await _outcome(client.extract(request(timeout_seconds=TIMEOUT_SECONDS), Recorder()))

    said = "".join([caplog.text, *capfd.readouterr(), _all_that_it_shows(error) if error else ""])
    assert KEY not in said
    assert SENTENCE[:30] not in said
    assert "sign in" not in said.lower()


def _listen_to_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in logging.root.manager.loggerDict:
        if name.startswith(("instructor.", "openai.", "httpx.", "httpcore.", "aiohttp.", "asyncio")):
            caplog.set_level(logging.DEBUG, logger=name)


def _all_that_it_shows(error: BaseException) -> str:
    """Text, repr and fields of the whole chain, its traceback, and the locals of our own frames in it."""
    shown = ["".join(traceback.format_exception(error))]
    cause: BaseException | None = error
    while cause is not None:
        shown += [str(cause), repr(cause), repr(vars(cause))]
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            if "/app/llm/" in frame.f_code.co_filename:
                shown.append(repr(frame.f_locals))
        cause = cause.__cause__ or cause.__context__
    return "".join(shown)


async def test_a_note_that_speaks_of_rate_limits_does_not_make_a_400_transient(
    upstream: ProtocolServer, make_client: MakeClient
) -> None:
    client = await make_client()
    upstream.set_default("400")

    error = await _outcome(client.extract(request("rate limit exceeded, error code: 429"), Recorder()))

    assert type(error) is LLMApiError
    assert error.http_status == 400
