"""A prompt's material put together: which pieces get how much of a budget, and the same work not done twice.

`assemble` is pure. `ContextDesk` is the asynchronous edge: it does large texts on a thread, because a megabyte would
hold the event loop for a tenth of a second, and remembers results under a hash of what they were made from.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar, cast

from cachetools import TTLCache

from app import clock
from app.context.compression import ALL_STEPS, Compressed, Steps, compress
from app.context.fitting import Fitted, Strategy, fit
from app.context.relevance import relevance
from app.context.tokens import Count, Tokenizer
from app.context.windows import DoesNotFit

Result = TypeVar("Result", Fitted, Compressed, int)

# Stands between two pieces.
_BETWEEN = "\n\n"
_INLINE_CHARS = 8_000
_REMEMBERED_CHARS = 8_000_000
# A person's text does not stay in memory for long after it was deleted.
_REMEMBERED_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of what a model is to read. The lowest `priority` gets room first; of equal ones the most relevant.

    A required one goes in whole. Another one is cut by its strategy, or left out where fewer than `least_tokens` of it
    would fit.
    """

    name: str
    text: str = field(repr=False)
    priority: int = 0
    is_required: bool = False
    least_tokens: int = 1
    strategy: Strategy = Strategy.SPREAD


@dataclass(frozen=True, slots=True)
class Assembled:
    """What is left of each piece, in the order in which they were given; `parts` is without those left out."""

    parts: dict[str, Fitted] = field(repr=False)
    tokens: int

    @property
    def text(self) -> str:
        return _BETWEEN.join(part.text for part in self.parts.values())

    def coverage_of(self, name: str) -> float:
        return self.parts[name].coverage if name in self.parts else 0.0


def assemble(
    pieces: Sequence[Piece], budget_tokens: int, count: Count, *, query: str | None = None
) -> Assembled | DoesNotFit:
    """As much of the pieces as the budget holds, by priority. Their names are distinct."""
    needed = count(_BETWEEN.join(piece.text for piece in pieces if piece.is_required and piece.text))
    if needed > budget_tokens:
        return DoesNotFit(needed, budget_tokens)
    scores = relevance([piece.text for piece in pieces], query or "")
    order = sorted(range(len(pieces)), key=lambda at: (not pieces[at].is_required, pieces[at].priority, -scores[at]))
    room = budget_tokens
    while True:
        found = _shared_out([pieces[at] for at in order], room, count, query)
        parts = {piece.name: found[piece.name] for piece in pieces if piece.name in found}
        assembled = Assembled(parts, count(_BETWEEN.join(part.text for part in parts.values())))
        if assembled.tokens <= budget_tokens or room < 0:
            return assembled
        # Pieces can count less than what they make together.
        room -= max(assembled.tokens - budget_tokens, room // 50)


def _shared_out(pieces: Sequence[Piece], room: int, count: Count, query: str | None) -> dict[str, Fitted]:
    """What each gets, the first ones first; a required one in any case."""
    between = count(_BETWEEN)
    found: dict[str, Fitted] = {}
    for piece in (each for each in pieces if each.text):
        if piece.is_required:
            found[piece.name] = Fitted(piece.text, 1.0, count(piece.text), None)
            continue
        left = room - sum(part.tokens + between for part in found.values())
        fitted = fit(piece.text, max(left, 0), count, piece.strategy, query=query)
        if fitted.text and (fitted.coverage == 1 or fitted.tokens >= piece.least_tokens):
            found[piece.name] = fitted
    return found


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

    async def compress(self, text: str, tokenizer: Tokenizer, steps: Steps = ALL_STEPS) -> Compressed:
        return await self._done((text,), tokenizer, ("compress", steps), lambda: compress(text, tokenizer.count, steps))

    async def _done(
        self, texts: tuple[str, ...], tokenizer: Tokenizer, how: tuple[object, ...], work: Callable[[], Result]
    ) -> Result:
        is_small = sum(map(len, texts)) <= _INLINE_CHARS and tokenizer.name in self._loaded
        key = (_hashes(texts) if is_small else await asyncio.to_thread(_hashes, texts), tokenizer.name, *how)
        known = self._results.get(key)
        if known is not None:
            return cast("Result", known)
        result = work() if is_small else await asyncio.to_thread(work)
        self._loaded.add(tokenizer.name)
        if _size_of(result) <= _REMEMBERED_CHARS:
            self._results[key] = result
        return result


def _hashes(texts: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts)


def _size_of(result: Fitted | Compressed | int) -> int:
    return 100 if isinstance(result, int) else 100 + len(result.text)
