"""What the servers on own machines say of their models, for plans and renderings.

Invariant: only a server that is said to be local is asked, about a model whose window nobody else knows.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from app.context.local_server import LocalServers, Server
from app.context.tokens import Tokenizer
from app.llm.extraction import ModelFacts
from app.llm.vendors.access import bare_name
from app.providers.provider import Provider, ProviderKind

_ASKED = frozenset({ProviderKind.OPENAI, ProviderKind.OPENAI_COMPATIBLE, ProviderKind.LITELLM})


class LocalModels:
    """By provider, as the gateway knows them."""

    def __init__(self, servers: LocalServers) -> None:
        self._servers = servers

    def over(self, provider: Provider, model: str, facts: ModelFacts) -> ModelFacts:
        """The facts, with the window that the server told of. Asks nobody."""
        server = _server_of(provider)
        if server is None or facts.context_window is not None:
            return facts
        window = self._servers.window_of(server, bare_name(provider, model))
        return facts if window is None else replace(facts, context_window=window.tokens)

    async def learn(self, models: Iterable[tuple[Provider, str]]) -> None:
        """Ask about those of which nothing is known; a server that says nothing in time is waited for once."""
        asked = [(server, bare_name(provider, name)) for provider, name in models if (server := _server_of(provider))]
        if asked:
            await asyncio.gather(*(self._servers.learn(server, name) for server, name in asked))

    def look_again(self, provider: Provider, models: Iterable[str]) -> None:
        """Ask anew, beside everything else."""
        server = _server_of(provider)
        if server is not None:
            for name in models:
                self._servers.look_again(server, bare_name(provider, name))

    async def tokenizer_for(self, provider: Provider, model: str, document: str) -> Tokenizer | None:
        """By the server's own count of this document; None where it does not count."""
        server = _server_of(provider)
        if server is None:
            return None
        return await self._servers.tokenizer_for(server, bare_name(provider, model), document)

    async def close(self) -> None:
        await self._servers.close()


def is_local_server(provider: Provider) -> bool:
    return _server_of(provider) is not None


def _server_of(provider: Provider) -> Server | None:
    if not provider.is_local or provider.base_url is None or provider.kind not in _ASKED:
        return None
    key = provider.api_key
    return Server(provider.base_url, key.get_secret_value() if key else None)
