"""Who is asked for a provider: the client for those with a wire, the stub for itself."""

from collections.abc import Callable

from app.llm.attempts import AttemptRecorder
from app.llm.call import Delta
from app.llm.client import LLMClient, Toll
from app.llm.extraction import Answer, Extraction, Inquiry, ModelFacts
from app.llm.stub import FACTS, StubUpstream
from app.llm.vendor_answer import VendorAnswer
from app.providers.provider import Provider, ProviderKind


class Upstreams:
    """Of a process."""

    def __init__(self, client: LLMClient, stub: StubUpstream) -> None:
        self._client, self._stub = client, stub

    async def start(self) -> None:
        await self._client.start()

    async def close(self) -> None:
        await self._client.close()

    def facts(self, provider: Provider, model: str) -> ModelFacts:
        """Asks nobody. The client must have been started for a provider with a wire."""
        return FACTS if provider.kind is ProviderKind.STUB else self._client.known_facts(provider, model)

    async def extract(
        self, provider: Provider, request: Extraction[Answer], recorder: AttemptRecorder, toll: Toll
    ) -> Answer:
        if provider.kind is ProviderKind.STUB:
            return await self._stub.extract(request, recorder)
        return await self._client.extract(request, recorder, toll)

    async def complete(self, inquiry: Inquiry, recorder: AttemptRecorder, toll: Toll) -> VendorAnswer:
        if inquiry.provider.kind is ProviderKind.STUB:
            return await self._stub.complete(inquiry, recorder)
        return await self._client.complete(inquiry, recorder, toll)

    async def stream(
        self, inquiry: Inquiry, emit: Callable[[Delta], None], recorder: AttemptRecorder, toll: Toll
    ) -> VendorAnswer:
        if inquiry.provider.kind is ProviderKind.STUB:
            return await self._stub.stream(inquiry, emit, recorder)
        return await self._client.stream(inquiry, emit, recorder, toll)
