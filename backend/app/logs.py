"""Logs: structlog for our lines and for everybody else's, with the request id and the item id in each.

A person's text, a prompt, an answer or a key is never logged. That is why exceptions are logged as their types and
places, without their messages, and why uvicorn's access log, which holds search words, is off.
"""

import logging
import sys
import traceback
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

_SILENT = ("uvicorn.access", "LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "litellm", "instructor", "httpx", "openai")
_FRAMES = 12


def configure_logs(level: str, form: str) -> None:
    """Send all logging to standard error, as lines for people (`console`) or for machines (`json`)."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _place_without_message,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _foreign_exception],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    own_level = logging.getLevelNamesMapping()[level.upper()]
    # Debug is for our own lines: other libraries' hold whole statements with the texts in them, aiosqlite's above all.
    root.setLevel(max(own_level, logging.INFO))
    logging.getLogger("app").setLevel(own_level)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    silence_vendors()


def silence_vendors() -> None:
    """Switch off loggers that write keys, prompts and answers; again after a vendor's import has set up its own."""
    for name in _SILENT:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = False
        logger.disabled = True


def describe_exception(error: BaseException) -> dict[str, Any]:
    """The types in the chain of an exception and the places it passed, without messages: they may hold a text."""
    types: list[str] = []
    cause: BaseException | None = error
    while isinstance(error, BaseExceptionGroup):
        error = cause = error.exceptions[0]
    while cause is not None and len(types) < _FRAMES:
        types.append(type(cause).__name__)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return {"error": " < ".join(types), "places": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}


def _place_without_message(_logger: Any, _method: str, event: EventDict) -> EventDict:  # noqa: ANN401 - structlog's form
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()[1]
    elif isinstance(found, tuple):
        found = found[1]
    if isinstance(found, BaseException):
        event.update(describe_exception(found))
    return event


def _foreign_exception(_logger: Any, _method: str, event: EventDict) -> EventDict:  # noqa: ANN401 - structlog's form
    """Other libraries' records carry their exception on the record itself."""
    record: logging.LogRecord | None = event.get("_record")
    if record is not None and record.exc_info:
        if record.exc_info[1] is not None:
            event.update(describe_exception(record.exc_info[1]))
        record.exc_info = record.exc_text = None
    return event
