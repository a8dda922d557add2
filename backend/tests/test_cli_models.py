"""`litevault check` of a real provider: names, keys, fallbacks, and a live call to the protocol server."""

from collections.abc import Callable

import pytest

from app.cli.finding import Finding
from app.cli.model_checks import examine_model
from app.config import LLMSettings
from tests.bare_environment import bare_environment  # noqa: F401 - a fixture
from tests.protocol_server.server import ProtocolServer
from tests.shipped_prompts import shipped_prompts

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bare_environment")]
Examine = Callable[..., list[Finding]]


async def problems(*, live: bool = False, **settings: object) -> list[str]:
    found = await examine_model(
        LLMSettings(provider="litellm", **settings),  # type: ignore[arg-type]
        shipped_prompts(),
        live=live,
    )
    return [f"{finding.part}: {finding.sentence}" for finding in found if finding.is_well is False]


async def test_a_missing_key_is_named_for_the_model_and_for_its_fallback() -> None:
    assert await problems(fallback_models=["anthropic/claude-haiku-4-5"]) == [
        "model: openai/gpt-4o-mini: OPENAI_API_KEY is not set",
        "fallback: anthropic/claude-haiku-4-5: ANTHROPIC_API_KEY is not set",
    ]


async def test_a_key_that_is_set_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    assert await problems() == []


async def test_a_provider_that_nobody_knows_is_named() -> None:
    [problem] = await problems(model="opanai/gpt-4o-mini")
    assert "names no known provider" in problem


async def test_a_live_call_that_is_answered(upstream: ProtocolServer) -> None:
    assert await problems(live=True, api_base=upstream.base_url) == []


async def test_a_live_call_that_nobody_answers() -> None:
    [problem] = await problems(live=True, api_base="http://127.0.0.1:1/v1")
    assert problem.startswith("live call: openai/gpt-4o-mini: ")


async def test_no_live_call_while_the_model_is_switched_off(upstream: ProtocolServer) -> None:
    upstream.reset()
    assert await problems(live=True, api_base=upstream.base_url, enabled=False) == []
    assert upstream.calls == []
