"""Counting, fitting and compressing for a whole process: large texts on a thread, and their work not done twice.

A megabyte would hold the event loop for a tenth of a second. What is remembered stands under a hash of what it was
made from, and not for long: a person's text shall not stay in memory after it was deleted.
"""

import asyncio
from collections.abc import Callable
from hashlib import sha256
from typing import Any, TypeVar, cast

from cachetools import TTLCache

from app import clock
from app.context.compression import Compressed, Steps, compress
from app.context.fitting import Fitted, Strategy, fit
from app.context.tokens import Tokenizer

Result = TypeVar("Result", Fitted, Compressed, int)

_INLINE_CHARS = 8_000
_REMEMBERED_CHARS = 8_000_000
_REMEMBERED_SECONDS = 600.0


class ContextDesk:
    """For all callers of a process, from its event loop."""

    def __init__(self, seconds: Callable[[], float] = clock.local_seconds) -> None:
        self._results: TTLCache[tuple[object, ...], Any] = TTLCache(
            _REMEMBERED_CHARS, _REMEMBERED_SECONDS, seconds, getsizeof=_size_of
        )
        self._loaded: set[str] = set()

    async def count(self, text: str, tokenizer: Tokenizer) -> int:
        return await self._done((text,), tokenizer, ("count",), lambda: tokenizer.count(text))

    async def fit(
        self,
        document: str,
        budget_tokens: int,
        tokenizer: Tokenizer,
        strategy: Strategy = Strategy.SPREAD,
        *,
        query: str | None = None,
    ) -> Fitted:
        return await self._done(
            (document, query or ""),
            tokenizer,
            ("fit", budget_tokens, strategy),
            lambda: fit(document, budget_tokens, tokenizer.count, strategy, query=query),
        )

    async def compress(self, text: str, tokenizer: Tokenizer, steps: Steps) -> Compressed:
        return await self._done((text,), tokenizer, ("compress", steps), lambda: compress(text, tokenizer.count, steps))

    async def _done(
        self, texts: tuple[str, ...], tokenizer: Tokenizer, how: tuple[object, ...], work: Callable[[], Result]
    ) -> Result:
        is_small = sum(map(len, texts)) <= _INLINE_CHARS and tokenizer.name in self._loaded
        if is_small:
            return work()
        key = (await asyncio.to_thread(_hashes, texts), tokenizer.name, *how)
        known = self._results.get(key)
        if known is not None:
            return cast("Result", known)
        result = await asyncio.to_thread(work)
        self._loaded.add(tokenizer.name)
        if _size_of(result) <= _REMEMBERED_CHARS:
            self._results[key] = result
        return result


def _hashes(texts: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts)


def _size_of(result: Fitted | Compressed | int) -> int:
    return 100 if isinstance(result, int) else 100 + len(result.text)
