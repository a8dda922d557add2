"""One call from its plan to its answer: cache and single flight, then the pursuit over the models.

Invariant: between the cache and the first call there is one place, `_fly`; what must be asked before money is spent
is asked there.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.errors import LLMContextTooLong
from app.llm.attempts import Saved
from app.llm.cache import AnswerCache, Kept, Slot, expiry, key_of
from app.llm.call import CacheScope, Call, Receipt
from app.llm.codecs import Codec
from app.llm.pursuit import Pursuit, Try
from app.llm.receipts import Account
from app.llm.rendering import Rendered
from app.llm.requests import label_of, options_of
from app.llm.routing import Candidate, Plan
from app.llm.traffic.doors import Doors

T = TypeVar("T")
Send = Callable[[Try, Rendered, Account], Awaitable[T]]
Render = Callable[[Candidate], Awaitable[Rendered]]


@dataclass(slots=True)
class Errand(Generic[T]):
    """Used once. `deadline` is on the local clock."""

    call: Call
    plan: Plan
    account: Account
    codec: Codec[T]
    render: Render
    send: Send[T]
    deadline: float
    _renderings: dict[str, Rendered] = field(default_factory=dict)

    async def run(self, doors: Doors, cache: AnswerCache) -> tuple[T, Receipt]:
        """The answer, asked for or from before. Raises as the entrances of the gateway do."""
        likely = self._likely(doors)
        slot = None if likely is None else await self._slot(likely)
        if likely is None or slot is None:
            return await self._fly(doors)
        made: list[tuple[T, Receipt]] = []

        async def fly() -> Kept:
            made.append(await self._fly(doors))
            return await self._keep(cache, *made[0])

        kept, was_there = await cache.through(slot, fly, self.deadline)
        if not was_there:
            return made[0]
        self.account.because(likely.reason)
        await self.account.note_cached(provider=kept.provider, model=kept.model, saved=kept.saved)
        # Another text may have been cut to the same words; who waited may have been given a fallback's answer.
        is_own = kept.model == likely.name
        coverage = (await self._rendered(likely)).coverage if is_own else kept.coverage
        return self.codec.decode(kept.answer), self._receipt(kept.provider, kept.model, coverage)

    async def _fly(self, doors: Doors) -> tuple[T, Receipt]:
        candidate, answer = await Pursuit(
            self.plan, doors, self._send, self.deadline, is_queued=self.call.is_queued
        ).run()
        rendered = await self._rendered(candidate)
        receipt = self._receipt(
            candidate.provider.name, candidate.name, rendered.coverage, compressed_tokens=rendered.compressed_tokens
        )
        return answer, receipt

    async def _send(self, attempt: Try) -> T:
        rendered = await self._rendered(attempt.candidate)
        self.account.because(attempt.reason)
        return await self.send(attempt, rendered, self.account)

    async def _rendered(self, candidate: Candidate) -> Rendered:
        known = self._renderings.get(candidate.name)
        if known is None:
            known = self._renderings[candidate.name] = await self.render(candidate)
        return known

    def _likely(self, doors: Doors) -> Candidate | None:
        """The model that would be asked now: an answer of the one before it would be a worse plan's."""
        is_cached = self.call.cache is not CacheScope.OFF and self.plan.rules.cache_seconds > 0
        if not is_cached or not self.plan.candidates:
            return None
        opened = (candidate for candidate in self.plan.candidates if doors.allowance(candidate.name) > 0)
        return next(opened, self.plan.candidates[0])

    async def _slot(self, candidate: Candidate) -> Slot | None:
        """None where the text does not fit: then there is no answer either."""
        call = self.call
        try:
            rendered = await self._rendered(candidate)
        except LLMContextTooLong:
            return None
        user_id = None if call.cache is CacheScope.SHARED else call.spender.user_id
        key = key_of(
            user_id,
            call.task,
            label_of(call),
            call.privacy,  # or who waits for an equal call would be given what that one's fallback was shown
            candidate.name,
            options_of(call.parameters),
            self.codec.shape,
            rendered.messages,
        )
        return Slot(key, call.task, user_id, self.plan.rules.cache_seconds)

    async def _keep(self, cache: AnswerCache, answer: T, receipt: Receipt) -> Kept:
        """Under the key of the model that gave it: when the first one is back, it is to be asked again."""
        slot = await self._slot(next(entry for entry in self.plan.candidates if entry.name == receipt.model))
        saved = Saved(receipt.usage.total_tokens, receipt.usage.cost_usd)
        seconds = self.plan.rules.cache_seconds
        text = self.codec.encode(answer)
        kept = Kept(text, receipt.provider, receipt.model, receipt.coverage, saved, expiry(seconds))
        if slot is not None and self.codec.is_whole(answer):
            cache.keep(slot, kept)
        return kept

    def _receipt(self, provider: str, model: str, coverage: float, *, compressed_tokens: int = 0) -> Receipt:
        return self.account.receipt(
            provider=provider,
            model=model,
            prompt=label_of(self.call),
            coverage=coverage,
            compressed_tokens=compressed_tokens,
        )
