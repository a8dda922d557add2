"""What the tests of the protocol server share: a server for each test, and the shortest way to ask it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.protocol_server.server import ProtocolServer, running_server

KEY = "sk-test-canary"
TOOL = {"type": "function", "function": {"name": "Enrichment", "parameters": {"type": "object"}}}
MODES: dict[str, dict[str, Any]] = {
    "tools": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "Enrichment"}}},
    "json_schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "E", "schema": {}}}},
    "json_object": {"response_format": {"type": "json_object"}},
    "md_json": {},
    "plain": {},
}


class Asker:
    """Asks one server over one HTTP client."""

    def __init__(self, server: ProtocolServer, http: httpx.Client) -> None:
        self.server = server
        self.http = http

    def post(self, text: str, *, mode: str = "json_schema", model: str = "gpt-4o-mini") -> httpx.Response:
        messages = [{"role": "user", "content": text}]
        if mode == "md_json":
            messages.insert(0, {"role": "system", "content": "Answer in a ```json codeblock."})
        return self.http.post("/v1/chat/completions", json={"model": model, "messages": messages, **MODES[mode]})

    def stream(self, text: str, *, mode: str = "plain", include_usage: bool = True) -> httpx.Response:
        """The whole stream as one response; raises httpx's error where it breaks off."""
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **MODES[mode]}
        options = {"stream_options": {"include_usage": True}} if include_usage else {}
        return self.http.post("/v1/chat/completions", json={**body, "stream": True, **options})

    def message(self, text: str, **more: Any) -> httpx.Response:
        """On Anthropic's wire; the whole of a stream as one response."""
        body = {"model": "claude-haiku-4-5", "max_tokens": 500, "messages": [{"role": "user", "content": text}]}
        headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
        return self.http.post("/v1/messages", json={**body, **more}, headers=headers)

    def content(self, text: str, *, mode: str = "json_schema") -> str:
        content: str = self.post(text, mode=mode).json()["choices"][0]["message"]["content"]
        return content


@pytest.fixture
def server() -> Iterator[ProtocolServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def asker(server: ProtocolServer) -> Iterator[Asker]:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=5) as http:
        yield Asker(server, http)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vendor_clients: runs the real openai, litellm and instructor (slow import)")
