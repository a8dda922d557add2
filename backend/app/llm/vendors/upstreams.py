"""Who is asked for a provider: the client for those with a wire, the stub and the mock for themselves."""

from collections.abc import Callable, Mapping

from app.config import LLMSettings
from app.llm.attempts import AttemptRecorder
from app.llm.call import Delta
from app.llm.extraction import Answer, Extraction, Inquiry, ModelFacts
from app.llm.vendors.answer import VendorAnswer
from app.llm.vendors.client import LLMClient, Toll
from app.llm.vendors.stub import MockAuthor, OfflineUpstream, StubAuthor
from app.providers.mock import MockFixtures
from app.providers.provider import Provider, ProviderKind


class Upstreams:
    """Of a process."""

    def __init__(self, client: LLMClient, offline: Mapping[ProviderKind, OfflineUpstream]) -> None:
        self._client, self._offline = client, offline

    async def start(self) -> None:
        await self._client.start()

    async def close(self) -> None:
        await self._client.close()

    def facts(self, provider: Provider, model: str) -> ModelFacts:
        """Asks nobody. The client must have been started for a provider with a wire."""
        offline = self._offline.get(provider.kind)
        return offline.facts(provider.name) if offline else self._client.known_facts(provider, model)

    async def extract(
        self, provider: Provider, request: Extraction[Answer], recorder: AttemptRecorder, toll: Toll
    ) -> Answer:
        if offline := self._offline.get(provider.kind):
            return await offline.extract(request, recorder)
        return await self._client.extract(request, recorder, toll)

    async def complete(self, inquiry: Inquiry, recorder: AttemptRecorder, toll: Toll) -> VendorAnswer:
        if offline := self._offline.get(inquiry.provider.kind):
            return await offline.complete(inquiry, recorder)
        return await self._client.complete(inquiry, recorder, toll)

    async def stream(
        self, inquiry: Inquiry, emit: Callable[[Delta], None], recorder: AttemptRecorder, toll: Toll
    ) -> VendorAnswer:
        if offline := self._offline.get(inquiry.provider.kind):
            return await offline.stream(inquiry, emit, recorder)
        return await self._client.stream(inquiry, emit, recorder, toll)


def build_upstreams(settings: LLMSettings) -> Upstreams:
    """Raises StartRefused for fixtures that cannot be read."""
    offline = {ProviderKind.STUB: OfflineUpstream(StubAuthor(settings.stub_delay_seconds))}
    if settings.mock_fixtures is not None:
        offline[ProviderKind.MOCK] = OfflineUpstream(MockAuthor(MockFixtures.load(settings.mock_fixtures)))
    return Upstreams(LLMClient(settings), offline)
