"""`litevault check` of providers and routing: who is there, which models are priced, which task has none to ask."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.commands import app
from app.cli.routing_checks import examine_routing
from app.clock import utc_now
from app.config import LLMSettings, Settings
from app.database import Database, new_id
from app.logs import configure_logs
from app.providers.provider_model import LLMProvider
from tests.bare_environment import bare_environment  # noqa: F401 - a fixture
from tests.conftest import make_settings
from tests.postgres_cluster import find_free_port
from tests.protocol_server.server import ProtocolServer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bare_environment")]
PRICED = {"inputPriceUsd": "0.000001", "outputPriceUsd": "0.000002"}
ROUTING = """
tasks:
  query: {models: [{model: mine/small}, {model: mine/unpriced}]}
  chat: {models: [{model: gone/large}, {model: nobody/knows}]}
  enrichment: {}
"""


@pytest.fixture
def settings(database_url: str, tmp_path: Path, upstream: ProtocolServer) -> Settings:
    """OpenAI is the protocol server; it gives its list to any key."""
    routing = tmp_path / "routing.yaml"
    routing.write_text(ROUTING)
    llm = LLMSettings.model_validate(
        {
            "provider": "litellm",
            "api_base": upstream.base_url,
            "OPENAI_API_KEY": "sk-canary",
            "routing_file": routing,
            "allowed_hosts": "127.0.0.1",
        }
    )
    return make_settings(database_url, tmp_path, llm=llm)


async def keep(database: Database, *names: str, base_url: str, **changes: Any) -> None:
    """Providers of the database, the first with a priced model."""
    now = utc_now()
    rows = [
        LLMProvider(
            **{
                "id": new_id(),
                "name": name,
                "kind": "openai_compatible",
                "base_url": base_url,
                "models": [{"name": "small", **PRICED}],
                "created_at": now,
                "updated_at": now,
                **changes,
            }
        )
        for name in names
    ]
    await database.write(lambda session: session.add_all(rows))


async def told(settings: Settings) -> dict[bool | None, list[str]]:
    found: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for finding in await examine_routing(settings):
        found[finding.is_well].append(f"{finding.part} {finding.sentence}")
    return found


async def test_each_provider_model_and_task_is_told(
    settings: Settings, database: Database, upstream: ProtocolServer
) -> None:
    await keep(database, "mine", base_url=upstream.base_url)
    await keep(database, "gone", base_url="http://127.0.0.1:1/v1")
    await keep(database, "off", base_url=upstream.base_url, is_enabled=False)
    found = await told(settings)
    well, wrong, unknown = found[True], found[False], found[None]
    assert [line.partition(":")[0] for line in well] == [
        "provider openai",
        "provider mine",
        "model mine/small",
        "tasks enrichment, extraction, image_prompt, query",
    ]
    assert well[0].endswith("the key is accepted") and not well[1].endswith("accepted")
    assert [line.partition(": ")[0] for line in wrong] == ["provider gone", "model nobody/knows", "task chat"]
    assert "connection" in wrong[0] and "task chat names it" in wrong[1] and "gone/large, nobody/knows" in wrong[2]
    assert [line.partition(":")[0] for line in unknown] == ["provider off", "model gone/large", "model mine/unpriced"]
    assert upstream.calls == []


@pytest.mark.parametrize(("fault", "said", "is_well"), [("401", "refuses the key", False), ("404", "no list", None)])
async def test_a_provider_that_gives_no_list_is_told_apart(
    settings: Settings, upstream: ProtocolServer, fault: str, said: str, is_well: object
) -> None:
    upstream.listing_fault = fault
    found = await examine_routing(settings)
    assert (found[0].is_well, said in found[0].sentence) == (is_well, True)
    without_model = [finding.sentence.partition(":")[0] for finding in found if finding.part == "task"]
    assert without_model == [
        "chat",
        *(["enrichment", "extraction", "image_prompt"] if is_well is False else []),
        "query",
    ]


async def test_a_key_that_cannot_be_read_is_told_and_no_encryption_key_is_made(
    settings: Settings, database: Database, upstream: ProtocolServer
) -> None:
    await keep(database, "mine", base_url=upstream.base_url, sealed_key="lost", key_changed_at=utc_now())
    found = await told(settings)
    assert any(line.startswith("provider mine: its key cannot be read") for line in found[False])
    assert not (settings.data_dir / "secret.keys").exists()


async def test_a_routing_file_that_is_none_is_told(settings: Settings) -> None:
    assert settings.llm.routing_file is not None
    settings.llm.routing_file.write_text("tasks: 3")
    [finding] = await examine_routing(settings)
    assert (finding.part, finding.is_well) == ("routing", False)


async def test_switched_off_the_providers_alone_are_looked_at(settings: Settings) -> None:
    off = settings.model_copy(update={"llm": settings.llm.model_copy(update={"enabled": False})})
    assert [finding.part for finding in await examine_routing(off)] == ["provider"]


def test_a_task_without_a_model_makes_the_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    routing = tmp_path / "routing.yaml"
    routing.write_text("tasks: {chat: {models: [{model: nobody/knows}]}}")
    monkeypatch.setenv("LITEVAULT_LLM_ROUTING_FILE", str(routing))
    monkeypatch.setenv("LITEVAULT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LITEVAULT_PORT", str(find_free_port()))
    result = CliRunner().invoke(app, ["check"])
    configure_logs("error", "json")  # what the command set up writes into the runner's closed stream
    assert result.exit_code == 1
    assert "✗ task        chat: none of its models can be asked (nobody/knows)" in result.stdout
