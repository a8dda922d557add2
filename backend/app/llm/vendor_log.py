"""Silence for the libraries below the client: they log keys, prompts, notes and answers, some at ERROR."""

import logging

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
