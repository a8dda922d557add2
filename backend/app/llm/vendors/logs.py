"""Silence for the libraries below the client: they log keys, prompts, notes and answers, some at ERROR."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# On these litellm puts filters when it is imported.
_NOT_THE_VENDORS = ("asyncio", "uvicorn.error", "uvicorn.access")
_TALKATIVE = (
    "LiteLLM",
    "LiteLLM Proxy",
    "LiteLLM Router",
    "instructor",
    "openai",
    "anthropic",
    "httpx",
    "httpcore",
    "aiohttp",
)


def silence_vendor_loggers() -> None:
    """Nothing reaches the root logger either, whatever level someone sets on a child."""
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)


@contextmanager
def filters_kept_out() -> Iterator[None]:
    """In the block nobody can put a filter on the loggers of asyncio and uvicorn.

    litellm's filter runs on whatever thread logs, and there imports more of litellm. While litellm itself is still
    being imported on the client's thread, an error that asyncio logs on the application's loop would deadlock that
    import, and the worker would die of it.
    """
    loggers = [logging.getLogger(name) for name in _NOT_THE_VENDORS]
    for logger in loggers:
        logger.addFilter = _ignore  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        for logger in loggers:
            vars(logger).pop("addFilter", None)


def _ignore(_filter: object) -> None:
    """In place of `addFilter`."""
