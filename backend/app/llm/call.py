"""What is asked of the gateway and what it gives back: plain values, the same for every model and every way to ask.

A call says for whom, under which task and how private; which model answers is the gateway's choice. Texts of people
(messages, variables, documents, answers) are in no repr.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar

from app.accounts.privacy import Privacy
from app.llm.attempts import AttemptOutcome, Usage
from app.llm.extraction import Message
from app.prompts.prompt_version import PromptVersion

Form = TypeVar("Form")


class CacheScope(StrEnum):
    """Who may be given this answer again. SHARED is only for what holds nothing of a person."""

    OFF = "off"
    PERSON = "person"
    SHARED = "shared"


class Complexity(StrEnum):
    """How hard the task is, in rising order: the routing prefers the cheapest model that is meant for it."""

    SIMPLE = "simple"
    STANDARD = "standard"
    HARD = "hard"


@dataclass(frozen=True, slots=True)
class Spender:
    """Whose money it is, and for which row of which lane. Without a row the attempts are booked for the person."""

    user_id: str
    lane: str
    row_id: str | None = None
    api_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is passed on to the model; None and empty leave the choice to the task's rules, then to the vendor."""

    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning_effort: str | None = None
    parallel_tool_calls: bool | None = None
    tools: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    tool_choice: str | Mapping[str, Any] | None = None
    response_format: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One question. `prompt` is rendered for whichever provider is asked, or is messages that are sent as they are.

    `models` overrides the task's plan: `provider/model` names in order, or `task:NAME`. `deadline_seconds` is for all
    of it, waiting and other models included. `complexity` None: as the prompt says, else standard. `is_queued`: a row
    that can be tried again later; no time of its slot is spent on waiting for a provider.
    """

    task: str
    prompt: PromptVersion | tuple[Message, ...] = field(repr=False)
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    document: str = field(default="", repr=False)
    spender: Spender
    deadline_seconds: float
    privacy: Privacy = Privacy.ANY
    models: tuple[str, ...] = ()
    parameters: Parameters = Parameters()
    cache: CacheScope = CacheScope.OFF
    complexity: Complexity | None = None
    is_queued: bool = False


@dataclass(frozen=True, slots=True)
class AttemptNote:
    """An upstream call that was made for the answer: which model, why that one, and how it ended."""

    provider: str
    model: str
    reason: str
    outcome: AttemptOutcome | None
    error_code: str | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an answer came from and what it took.

    `usage` is of the call that gave the answer; `cost_usd` is of all attempts together, None when any is unknown.
    `coverage`: the part of the document that the model saw, 0 to 1. `prompt` is its label; None for plain messages.
    `compressed_tokens`: what of the document was not sent because it says nothing new, estimated.
    """

    model: str
    provider: str
    usage: Usage
    cost_usd: Decimal | None
    attempts: tuple[AttemptNote, ...]
    prompt: str | None = None
    coverage: float = 1.0
    cached: bool = False
    compressed_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Extracted(Generic[Form]):
    """A structured answer that has passed its check."""

    content: Form = field(repr=False)
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for; `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer. `finish_reason` in OpenAI's words: stop, length, tool_calls, content_filter."""

    content: str = field(repr=False)
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the tool call at `index`; id and name come with its first piece."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer, as it came; `model` is the one that wrote it."""

    content: str = field(default="", repr=False)
    tool_calls: tuple[ToolCallDelta, ...] = ()
    model: str = ""


@dataclass(frozen=True, slots=True)
class Restarted:
    """What came so far is void: the answer begins anew, from `model`."""

    model: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a whole answer: the deltas since the last restart put together, and its receipt."""

    completion: Completion

    @property
    def receipt(self) -> Receipt:
        return self.completion.receipt


StreamEvent = Delta | Restarted | Finished
