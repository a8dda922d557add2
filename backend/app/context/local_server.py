"""What a server on a person's own machines says of its models: how large the window is, how its tokenizer counts.

llama.cpp, Ollama and vLLM are understood. No call ever fails for a server that says nothing, or nothing in time, and
none waits for one that was silent a moment ago.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import orjson
from cachetools import LRUCache, TTLCache

from app import clock
from app.context.estimate import estimate
from app.context.tokens import Tokenizer
from app.context.windows import UNKNOWN_WINDOW_TOKENS, Window

if TYPE_CHECKING:
    import aiohttp

_TIMEOUT_SECONDS = 1.0
_FRESH_SECONDS = 300.0
_SILENT_SECONDS = 30.0
_MOST_REMEMBERED = 256
_LARGEST_ANSWER_BYTES = 4_000_000
# A part of a text may be denser than the whole that was counted.
_CALIBRATED_MARGIN = 0.1
_SAMPLE_CHARS = 10_000
_NUM_CTX = re.compile(r"^num_ctx\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Server:
    """An OpenAI-compatible server by its base URL, with or without `/v1`."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)

    @property
    def root(self) -> str:
        return self.base_url.rstrip("/").removesuffix("/v1")


@dataclass(frozen=True, slots=True)
class _Served:
    """What a server said; `text_field` is where its `/tokenize` wants the text, None where it has none."""

    window: Window
    text_field: str | None = None


_Key = tuple[Server, str]


class OpensSession(Protocol):
    """Where the HTTP session comes from: made at the first question, with the guard of outgoing connections."""

    async def get(self) -> "aiohttp.ClientSession": ...
    async def close(self) -> None: ...


class LocalServers:
    """Asks, and remembers the answers. To be used from one event loop; `close` ends it."""

    def __init__(
        self,
        session: OpensSession,
        seconds: Callable[[], float] = clock.local_seconds,
        *,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._session, self._seconds, self._timeout_seconds = session, seconds, timeout_seconds
        # With the time of the answer.
        self._known: LRUCache[_Key, tuple[_Served, float]] = LRUCache(_MOST_REMEMBERED)
        self._silent: TTLCache[_Key, bool] = TTLCache(_MOST_REMEMBERED, _SILENT_SECONDS, seconds)
        self._asking: dict[_Key, asyncio.Task[None]] = {}
        self._is_closed = False

    def window_of(self, server: Server, model: str) -> Window | None:
        """The window as it is served, which is often smaller than the one the model was trained for. Asks nobody."""
        known = self._known.get((server, model))
        return known[0].window if known else None

    async def learn(self, server: Server, model: str) -> None:
        """Waits where nothing is known, and not again for a while when there was no answer.

        An old answer stands until there is a new one.
        """
        key = (server, model)
        known = self._known.get(key)
        if known is None and key not in self._silent:
            await asyncio.shield(self._begin(key))
        elif known is not None and self._seconds() - known[1] > _FRESH_SECONDS:
            self.look_again(server, model)

    def look_again(self, server: Server, model: str) -> None:
        """Ask, beside everything else; after `close` nobody."""
        if not self._is_closed:
            _ = self._begin((server, model))

    async def tokenizer_for(self, server: Server, model: str, document: str) -> Tokenizer | None:
        """The estimator, set right by the server's own count of this document, or of three samples of a long one.

        None where the server does not count.
        """
        known = self._known.get((server, model))
        text_field = known[0].text_field if known else None
        sample = _sample_of(document)
        if text_field is None or not sample.strip():
            return None
        truth = await self._count(server, model, text_field, sample)
        if not truth:
            return None
        ratio = truth / estimate(sample)
        return Tokenizer(f"calibrated {ratio:.3f}", lambda text: ceil(estimate(text) * ratio), _CALIBRATED_MARGIN)

    async def close(self) -> None:
        """Safe to repeat."""
        self._is_closed = True
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    def _begin(self, key: _Key) -> asyncio.Task[None]:
        """One question at a time about each."""
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return task

    async def _ask(self, key: _Key) -> None:
        served = await self._ask_within_time(*key)
        if served is not None:
            self._known[key] = served, self._seconds()
        elif key in self._known:
            self._known[key] = self._known[key][0], self._seconds()  # asked: not again at once
        else:
            self._silent[key] = True

    async def _ask_within_time(self, server: Server, model: str) -> _Served | None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                for ask in (self._ask_llama_cpp, self._ask_ollama, self._ask_vllm):
                    served = await ask(server, model)
                    if served is not None:
                        return served
        except TimeoutError:
            pass
        return None

    async def _ask_llama_cpp(self, server: Server, model: str) -> _Served | None:
        # One server may hold several models; being asked shall not make it load one.
        answer = await self._json(server, "GET", f"/props?model={quote(model, safe='')}&autoload=false")
        tokens = _number(_object(answer.get("default_generation_settings")).get("n_ctx"))
        return _Served(Window(tokens), "content") if tokens else None

    async def _ask_ollama(self, server: Server, model: str) -> _Served | None:
        answer = await self._json(server, "POST", "/api/show", {"model": model})
        facts = _object(answer.get("model_info"))
        trained = next((_number(facts[name]) for name in facts if name.endswith(".context_length")), None)
        if trained is None:
            return None
        set_to = _NUM_CTX.search(str(answer.get("parameters", "")))
        # Without num_ctx the server decides when it loads the model, mostly for far less than the model could.
        tokens = await self._loaded_by_ollama(server, model) or (
            int(set_to[1]) if set_to else min(trained, UNKNOWN_WINDOW_TOKENS)
        )
        return _Served(Window(tokens))

    async def _loaded_by_ollama(self, server: Server, model: str) -> int | None:
        answer = await self._json(server, "GET", "/api/ps")
        for loaded in map(_object, _list(answer.get("models"))):
            if loaded.get("name") in {model, f"{model}:latest"}:
                return _number(loaded.get("context_length"))
        return None

    async def _ask_vllm(self, server: Server, model: str) -> _Served | None:
        answer = await self._json(server, "GET", "/v1/models")
        for listed in map(_object, _list(answer.get("data"))):
            tokens = _number(listed.get("max_model_len"))
            if listed.get("id") == model and tokens:
                return _Served(Window(tokens), "prompt")
        return None

    async def _count(self, server: Server, model: str, text_field: str, text: str) -> int | None:
        data = text.encode("utf-8", "replace").decode()
        body = {"model": model, text_field: data, "add_special": False, "add_special_tokens": False}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._json(server, "POST", "/tokenize", body)
        except TimeoutError:
            return None
        return len(_list(answer.get("tokens"))) or None

    async def _json(
        self, server: Server, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> Mapping[str, Any]:
        """The object that is answered; an empty one for whatever is none."""
        session = await self._session.get()
        import aiohttp  # noqa: PLC0415 - a heavy import, for those who have such a server; the session has made it

        headers = {"Authorization": f"Bearer {server.api_key}"} if server.api_key else {}
        # No redirects: who may reach this server may not be sent on to another one.
        try:
            async with session.request(
                method, server.root + path, json=body, headers=headers, allow_redirects=False
            ) as response:
                return _object(orjson.loads(await _bounded(response))) if response.status == 200 else {}
        except (aiohttp.ClientError, OSError, ValueError):
            return {}


async def _bounded(response: "aiohttp.ClientResponse") -> bytes:
    data = b""
    while len(data) < _LARGEST_ANSWER_BYTES and (more := await response.content.read(65_536)):
        data += more
    return data


def _sample_of(document: str) -> str:
    if len(document) <= 3 * _SAMPLE_CHARS:
        return document
    middle = len(document) // 2
    return document[:_SAMPLE_CHARS] + document[middle : middle + _SAMPLE_CHARS] + document[-_SAMPLE_CHARS:]


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
