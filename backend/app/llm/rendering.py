"""From a call to the messages for one model: its document made smaller, cut to the window, set into the prompt.

Nothing but the document is ever touched: messages, variables and system parts are sent as they were written. What is
sent fits the window together with the answer and whatever else goes along, schema and tools.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.context.compression import Compressed, Steps
from app.context.desk import ContextDesk
from app.context.fitting import Strategy
from app.context.tokens import ESTIMATOR, tokenizer_of
from app.context.windows import UNKNOWN_WINDOW, Window, room_for_document
from app.errors import LLMContextTooLong
from app.llm.call import Call
from app.llm.extraction import Message, said_in
from app.llm.local_models import LocalModels
from app.llm.requests import hints_of
from app.llm.routing import Candidate
from app.llm.routing_rules import Compression, TaskRules
from app.prompts.prompt_version import PromptVersion
from app.providers.provider import ProviderKind

# A character is never more tokens than this in any vocabulary.
_MOST_TOKENS_A_CHARACTER = 4
_TEMPLATE_TOKENS = 4000
# A prompt may refuse to be rendered without any.
_SHORTEST_DOCUMENT = "."
# Long ones are put into their prompt on a thread.
_LONG_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class Rendered:
    """The messages for one model.

    `coverage` is the part of the document that is in them; what was said twice is in them when it is once.
    `compressed_tokens` were left out because they say nothing new: an estimate.
    """

    messages: tuple[Message, ...] = field(repr=False)
    coverage: float = 1.0
    compressed_tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Smaller:
    """A document after its compression; `share` is the part of it that was not lost on the way."""

    text: str = field(repr=False)
    tokens: int = 0
    share: float = 1.0


class Renderer:
    """Of a gateway. `output_tokens` is the room for an answer that nobody bounded."""

    def __init__(self, local_models: LocalModels, *, is_compressing: bool, output_tokens: int) -> None:
        self._local_models = local_models
        self._is_compressing = is_compressing
        self._output_tokens = output_tokens
        self._desk = ContextDesk()

    async def render(self, call: Call, candidate: Candidate, rules: TaskRules, beside_tokens: int) -> Rendered:
        """`beside_tokens` go along with the messages. Raises LLMContextTooLong when even a cut document has no room."""
        prompt = call.prompt
        if isinstance(prompt, tuple):
            return Rendered(prompt)
        smaller = await self._compressed(call.document, rules)
        window = _window_of(candidate)
        output = call.parameters.max_tokens or self._output_tokens
        if window is None or _fits_surely(smaller.text, output + beside_tokens, window):
            messages = await _put_together(call, prompt, candidate, smaller.text)
            return Rendered(messages, smaller.share, smaller.tokens)
        return await self._fitted(call, candidate, smaller, window, output=output, beside_tokens=beside_tokens)

    async def _compressed(self, document: str, rules: TaskRules) -> _Smaller:
        """Counted by the estimator: no vocabulary is loaded for it."""
        if not self._is_compressing or not rules.compress:
            return _Smaller(document)
        harmless = Steps(blanks=Compression.BLANKS in rules.compress, repeats=Compression.REPEATS in rules.compress)
        done = await self._desk.compress(document, ESTIMATOR, harmless)
        if Compression.COMMENTS not in rules.compress:
            return _Smaller(done.text, _saved(done))
        further = await self._desk.compress(
            done.text, ESTIMATOR, Steps(blanks=harmless.blanks, repeats=harmless.repeats, comments=True)
        )
        return _Smaller(further.text, _saved(done) + _saved(further), len(further.text) / max(1, len(done.text)))

    async def _fitted(
        self, call: Call, candidate: Candidate, document: _Smaller, window: Window, *, output: int, beside_tokens: int
    ) -> Rendered:
        prompt = call.prompt
        assert isinstance(prompt, PromptVersion)  # noqa: S101 - messages are never cut
        served = await self._local_models.tokenizer_for(candidate.provider, candidate.name, document.text)
        tokenizer = served or tokenizer_of(candidate.name)
        empty = prompt.render(candidate.provider.kind.value, call.variables, _SHORTEST_DOCUMENT)
        fixed = sum([await self._desk.count(said_in(message), tokenizer) for message in empty])
        room = room_for_document(
            window, tokenizer, fixed_tokens=fixed + beside_tokens, output_tokens=output, messages=len(empty)
        )
        if room is None:
            raise LLMContextTooLong
        strategy = Strategy(hints_of(call).cut or Strategy.SPREAD)
        fitted = await self._desk.fit(document.text, room, tokenizer, strategy, query=_question_of(call.variables))
        messages = await _put_together(call, prompt, candidate, fitted.text)
        return Rendered(messages, fitted.coverage * document.share, document.tokens)


async def _put_together(call: Call, prompt: PromptVersion, candidate: Candidate, document: str) -> tuple[Message, ...]:
    variant = candidate.provider.kind.value
    if len(document) <= _LONG_CHARS:
        return prompt.render(variant, call.variables, document)
    return await asyncio.to_thread(prompt.render, variant, call.variables, document)


def _window_of(candidate: Candidate) -> Window | None:
    """None: nobody knows, and a vendor says so itself. A local server may cut off what is too long without a word."""
    facts = candidate.facts
    if facts.context_window is not None:
        return Window(facts.context_window, facts.max_output_tokens)
    return UNKNOWN_WINDOW if candidate.provider.kind is ProviderKind.OPENAI_COMPATIBLE else None


def _fits_surely(document: str, other_tokens: int, window: Window) -> bool:
    return len(document) * _MOST_TOKENS_A_CHARACTER + _TEMPLATE_TOKENS + other_tokens <= window.tokens


def _question_of(variables: Mapping[str, object]) -> str:
    """What the passages are ranked by, where the prompt wants the relevant ones."""
    return " ".join(value for value in variables.values() if isinstance(value, str))


def _saved(compressed: Compressed) -> int:
    return compressed.tokens_before - compressed.tokens_after
