"""Who gets to see an item's text: a model at home and one in the cloud, each a server that keeps its own log."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from app.accounts.privacy import Privacy
from app.config import LLMSettings
from app.enrichment.litellm_provider import LiteLLMProvider
from app.enrichment.provider_interface import EnrichmentProvider
from app.enrichment.stub_provider import StubProvider
from app.errors import LLMPrivateText
from app.items.presentation import present
from app.items.schemas import EnrichmentOut
from app.llm.attempts import AttemptOutcome
from app.llm.gateway import Gateway
from app.llm.routing_rules import RoutingRules, TaskRules, load_rules
from app.llm.vendors.upstreams import build_upstreams
from app.providers.provider import KeyState, Provider, ProviderKind
from app.worker.worker import Worker
from tests.llm.recorder import Recorder, llm_settings
from tests.protocol_server.server import ProtocolServer, running_server
from tests.shipped_prompts import shipped_prompts
from tests.worker.vault import SETTINGS, Vault

HOME, CLOUD = "home/gpt-4o-mini", "cloud/gpt-4o"
FAULTS = [
    *("500", "503", "reset", "cut", "hang_headers", "html", "tags_2", "empty", "404", "401", "429"),
    *("429_retry_after=1", "400_context", "400_policy", "content_filter", "refusal"),
]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[ProtocolServer, ProtocolServer]]:
    with running_server() as home, running_server() as cloud:
        yield home, cloud


class House:
    """A worker over a gateway that knows both; the cloud is the fallback, and answers everything."""

    def __init__(self, vault: Vault, home: ProtocolServer, cloud: ProtocolServer) -> None:
        self.vault, self.home, self.cloud = vault, home, cloud
        self.settings = llm_settings(home.base_url, timeout_seconds=1, max_retries=0, structured_mode="auto")
        self.providers = {
            "home": Provider("home", ProviderKind.OPENAI_COMPATIBLE, base_url=home.base_url, is_local=True),
            "cloud": Provider("cloud", ProviderKind.OPENAI_COMPATIBLE, base_url=cloud.base_url),
        }
        self.down: set[str] = set()
        self.plan(HOME, CLOUD)

    def plan(self, *models: str) -> None:
        rules = {**load_rules().tasks, "enrichment": TaskRules.model_validate(self._rules(models))}
        self.gateway = Gateway(
            self.settings,
            build_upstreams(self.settings),
            RoutingRules(tasks=rules),
            providers=lambda: self.providers,
            is_down=lambda name: name in self.down,
        )
        self.provider = LiteLLMProvider(self.settings, shipped_prompts(), self.gateway)
        self.vault.provider = self.provider  # type: ignore[assignment]

    @staticmethod
    def _rules(models: tuple[str, ...]) -> dict[str, object]:
        return {"models": [{"model": model, "complexity": "hard"} for model in models], "cache_seconds": 600}

    async def work(self, item_id: str) -> None:
        """Until the item has ended, or has had all its attempts."""
        for _ in range(SETTINGS.retry.max_attempts):
            await Worker(self.vault.database, self.vault.lane(), SETTINGS).run_once()
            if await self.vault.status(item_id) != "ENRICHING":
                return
            await self.vault.make_due(item_id)

    async def booked(self, item_id: str) -> set[str]:
        """Whatever the outcome, an attempt that was never made included."""
        return {attempt.provider for attempt in await self.vault.attempts(item_id)}

    async def shown(self, item_id: str) -> EnrichmentOut | None:
        item = await self.vault.item(item_id)
        (shown,) = await self.vault.database.read(lambda session: present(session, [item]))
        return shown.enrichment


@pytest.fixture
async def house(vault: Vault, servers: tuple[ProtocolServer, ProtocolServer]) -> AsyncIterator[House]:
    for server in servers:
        server.reset()
    house = House(vault, *servers)
    yield house
    await house.gateway.close()


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_fails_at_home_a_local_only_text_never_leaves(house: House, fault: str) -> None:
    house.home.set_default(fault)
    item_id = await house.vault.post(privacy="local_only")
    await house.work(item_id)
    assert house.home.calls != [] and house.cloud.calls == []
    assert await house.booked(item_id) == {"home"}
    assert await house.vault.status(item_id) != "READY_TO_CONFIRM"


async def test_a_text_for_all_goes_on_to_the_cloud_and_tells_who_saw_it(house: House) -> None:
    house.home.set_default("500")
    item_id = await house.vault.post()
    await house.work(item_id)
    shown = await house.shown(item_id)
    assert await house.vault.status(item_id) == "READY_TO_CONFIRM" and len(house.cloud.calls) == 1
    assert shown is not None and (shown.provider, shown.seen_by) == ("cloud", ["cloud", "home"])


@pytest.mark.parametrize(
    "change",
    [{"is_enabled": False}, {"key_state": KeyState.UNREADABLE}, {"is_local": False}, {"base_url": "http://[::1]:1/v1"}],
)
async def test_nor_where_home_cannot_be_asked(house: House, change: dict[str, object]) -> None:
    house.providers["home"] = replace(house.providers["home"], **change)  # type: ignore[arg-type]
    item_id = await house.vault.post(privacy="local_only")
    await house.work(item_id)
    assert house.home.calls == house.cloud.calls == []
    assert await house.booked(item_id) <= {"home"}


async def test_nor_where_home_is_known_to_be_down(house: House) -> None:
    house.down = {"home"}
    house.home.set_default("503")
    await house.work(await house.vault.post(privacy="local_only"))
    assert house.cloud.calls == []


async def test_without_a_model_that_may_see_it_the_item_fails_and_says_so(house: House) -> None:
    house.plan(CLOUD)
    item_id = await house.vault.post(privacy="local_only")
    await house.work(item_id)
    item = await house.vault.item(item_id)
    assert (item.status, item.enrichment_error) == ("FAILED", f"LLM_PRIVATE_TEXT: {LLMPrivateText.sentence}")
    assert house.cloud.calls == [] and await house.booked(item_id) == set()


async def test_a_first_choice_in_the_cloud_is_not_booked_with_the_claim(house: House) -> None:
    house.plan(CLOUD, HOME)
    everybody_s, private = await house.vault.post("One."), await house.vault.post("Two.", privacy="local_only")
    await house.work(private)
    assert await house.booked(everybody_s) == {"cloud"}
    assert await house.booked(private) == {"home"}
    assert [len(house.home.calls), len(house.cloud.calls)] == [1, 1]
    assert await house.vault.status(private) == "READY_TO_CONFIRM"


async def test_a_private_text_is_not_given_the_cloud_s_answer_to_the_same_text(house: House) -> None:
    house.home.set_default("500")
    everybody_s, private = await house.vault.post("Same."), await house.vault.post("Same.", privacy="local_only")
    await house.work(private)
    assert await house.vault.status(everybody_s) == "READY_TO_CONFIRM"
    assert await house.vault.status(private) != "READY_TO_CONFIRM"
    assert await house.booked(private) == {"home"}


async def test_from_a_change_on_it_stays_at_home_and_who_saw_it_before_is_still_told(house: House) -> None:
    house.home.set_default("500")
    house.cloud.set_default("400_policy")
    item_id = await house.vault.post()
    await house.work(item_id)
    before = len(house.cloud.calls)
    await house.vault.act(item_id, "edit", privacy="local_only")
    await house.vault.act(item_id, "retry")
    await house.work(item_id)
    assert len(house.cloud.calls) == before > 0
    shown = await house.shown(item_id)
    assert shown is not None and shown.seen_by == ["cloud", "home"]


async def test_what_is_given_again_was_seen_by_nobody_for_this_item(house: House) -> None:
    await house.work(await house.vault.post("Same."))
    again = await house.vault.post("Same.")
    await house.work(again)
    shown = await house.shown(again)
    assert shown is not None and (shown.cached, shown.provider, shown.seen_by) == (True, "home", [])


async def test_a_call_that_may_have_left_counts_as_seen(house: House) -> None:
    house.home.set_default("hang_headers")
    item_id = await house.vault.post()
    worker = Worker(house.vault.database, house.vault.lane(), SETTINGS)
    await worker._cycle()
    shown = await house.shown(item_id)
    worker.stop(at_once=True)
    await worker.run()
    assert shown is not None and shown.seen_by == ["home"]


async def test_a_text_for_nobody_is_seen_by_nobody_even_in_the_queue(house: House) -> None:
    item_id = await house.vault.post()
    await house.vault.set(item_id, privacy="none")
    await house.work(item_id)
    assert house.home.calls == house.cloud.calls == []
    assert (await house.vault.item(item_id)).enrichment_error == f"LLM_PRIVATE_TEXT: {LLMPrivateText.sentence}"
    assert await house.booked(item_id) == set()


class TestContract:
    """What both providers promise of a private text."""

    @pytest.fixture(params=["stub", "litellm"])
    def provider(self, request: pytest.FixtureRequest, house: House) -> EnrichmentProvider:
        if request.param == "stub":
            return StubProvider(LLMSettings(_env_file=None), shipped_prompts())
        return house.provider

    async def test_one_that_stays_at_home_is_enriched_at_home(self, provider: EnrichmentProvider) -> None:
        recorder = Recorder()
        result = await provider.enrich_item("A note.", privacy=Privacy.LOCAL_ONLY, attempts=recorder)
        assert result.provider in {"stub", "home"} and recorder.outcomes == [AttemptOutcome.OK]

    async def test_one_for_nobody_is_refused_before_anything_is_booked(self, provider: EnrichmentProvider) -> None:
        recorder = Recorder()
        with pytest.raises(LLMPrivateText):
            await provider.enrich_item("A note.", privacy=Privacy.NONE, attempts=recorder)
        assert recorder.attempts == []
