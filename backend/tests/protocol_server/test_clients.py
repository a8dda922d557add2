"""The real openai SDK, and litellm with instructor, take the fake for the real thing."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from tests.protocol_server.server import ProtocolServer, running_server

pytestmark = [pytest.mark.vendor_clients, pytest.mark.filterwarnings("ignore")]

KEY = "sk-test-canary"


class Enrichment(BaseModel):
    title: str = Field(max_length=120)
    summary: str
    tags: list[str] = Field(min_length=3, max_length=5)
    source_type: Literal["NOTE", "ARTICLE"]


@pytest.fixture(scope="module", autouse=True)
def _quiet_litellm() -> Iterator[None]:
    """Litellm reads its environment once, at import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("LITELLM_MODE", "PRODUCTION")
        patch.setenv("LITELLM_LOG", "ERROR")
        yield


@pytest.fixture
def server() -> Iterator[ProtocolServer]:
    with running_server() as running:
        yield running


def enrich(server: ProtocolServer, mode: str, text: str, re_asks: int = 0) -> tuple[Enrichment, Any]:
    """The enrichment and the last raw completion, by litellm and instructor in this mode."""
    import instructor  # noqa: PLC0415 - slow, and litellm must see the environment set above
    import litellm  # noqa: PLC0415

    client: Any = instructor.from_litellm(litellm.acompletion, mode=instructor.Mode[mode])

    async def ask() -> tuple[Enrichment, Any]:
        try:
            answer: tuple[Enrichment, Any] = await client.create_with_completion(
                response_model=Enrichment,
                model="openai/gpt-4o-mini",
                messages=[{"role": "user", "content": text}],
                api_base=server.base_url,
                api_key=KEY,
                max_retries=re_asks,
                num_retries=0,
                timeout=5,
            )
            return answer
        finally:
            # Left open, they are found by the garbage collector in the middle of another test.
            await litellm.close_litellm_async_clients()
            litellm.in_memory_llm_clients_cache.flush_cache()

    return asyncio.run(ask())


@pytest.mark.parametrize(("mode", "seen"), [("TOOLS", "tools"), ("JSON_SCHEMA", "json_schema"), ("MD_JSON", "md_json")])
def test_litellm_with_instructor_gets_an_enrichment(server: ProtocolServer, mode: str, seen: str) -> None:
    enrichment, completion = enrich(server, mode, "Buy milk tomorrow morning")
    (call,) = server.calls
    assert enrichment.title == "About milk, tomorrow"
    assert (call.mode, call.model) == (seen, "gpt-4o-mini")
    assert completion.usage.prompt_tokens == call.billed_input_tokens
    assert completion.usage.completion_tokens == call.billed_output_tokens


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA", "MD_JSON"])
def test_a_re_ask_keeps_the_marker_in_step(server: ProtocolServer, mode: str) -> None:
    enrich(server, mode, "Buy milk [[fault:tags_2,prose,ok]]", re_asks=2)
    assert [call.fault for call in server.calls] == ["tags_2", "prose", "ok"]
    assert len({call.first_text_sha256 for call in server.calls}) == 1


def test_the_openai_sdk_reads_answers_and_errors(server: ProtocolServer) -> None:
    import openai  # noqa: PLC0415 - slow

    server.script("ok", "429_retry_after=2")
    with openai.OpenAI(base_url=server.base_url, api_key=KEY, max_retries=0) as client:
        message: Any = {"role": "user", "content": "Buy milk"}
        answer = client.chat.completions.create(model="gpt-4o-mini", messages=[message])
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="gpt-4o-mini", messages=[message])
        models = [model.id for model in client.models.list()]
    assert answer.id == server.calls[0].answer_id
    assert caught.value.response.headers["retry-after"] == "2"
    assert models == ["gpt-4o-mini", "gpt-4o"]


def test_no_hidden_retry_reaches_the_server(server: ProtocolServer) -> None:
    with pytest.raises(Exception, match="server had an error"):
        enrich(server, "TOOLS", "Buy milk [[fault:500]]")
    assert len(server.calls) == 1
    assert "OPENAI_API_KEY" not in os.environ
