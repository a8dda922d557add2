"""A real server of ours over the protocol server, for what only a real connection shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.config import LLMSettings
from tests.conftest import make_settings, served
from tests.protocol_server.server import ProtocolServer

MODEL, SECOND = "openai/gpt-4o-mini", "openai/gpt-4o"
CALLER = {"X-Dev-User-Id": "ann"}


@contextmanager
def served_over(
    upstream: ProtocolServer, database_url: str, folder: Path, *, cache_seconds: int = 0, **changes: Any
) -> Iterator[str]:
    """The address of our server, which asks `upstream` for MODEL, then SECOND."""
    rules = folder / "routing.yaml"
    rules.write_text(
        f"defaults: {{first_token_seconds: 2, stall_seconds: 1, cache_seconds: {cache_seconds}}}\n"
        "tasks: {enrichment: {}, query: {}, chat: {}, extraction: {}, image_prompt: {}}\n"
    )
    llm = LLMSettings(
        _env_file=None,
        provider="litellm",
        model=MODEL,
        fallback_models=[SECOND],
        api_base=upstream.base_url,
        openai_api_key=SecretStr("sk-test"),
        routing_file=rules,
    )
    settings = make_settings(database_url, folder, llm=llm, worker_enabled=True, **changes)
    with served(settings) as url:
        yield url
