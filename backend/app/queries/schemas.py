"""Queries on the wire."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, Strict, StringConstraints, model_validator

from app.accounts.privacy import Privacy
from app.prompts.template import PromptId
from app.queries.query_model import QueryStatus
from app.web import StorableJson, Text, WireModel, WireTime

# `provider/model`, or the plan of a task.
ModelName = Annotated[Text, StringConstraints(min_length=3, max_length=200, pattern=r"^(task:[^/\s]+|[^/\s]+/\S+)$")]
Number = Annotated[float, Strict()]
StopText = Annotated[Text, StringConstraints(min_length=1, max_length=100)]


class _Closed(WireModel):
    model_config = ConfigDict(extra="forbid")


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class MessageIn(_Closed):
    role: Role
    content: Annotated[Text, StringConstraints(min_length=1, max_length=1_000_000, pattern=r"\S")]


class ParametersIn(_Closed):
    """What is left out is the prompt's choice, then the task's, then the vendor's."""

    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Strict(), Field(ge=1, le=200_000)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Strict(), Field(ge=0, le=2**31 - 1)] | None = None
    stop: Annotated[tuple[StopText, ...], Field(max_length=4)] = ()


class QueryAsked(_Closed):
    """A prompt with its variables and the text that it is about, or messages that are sent as they are.

    `model` is `provider/model`, for operators, or `task:NAME`; without it the task `query` decides. Where `privacy` is
    left out or null, the person's `defaultPrivacy` holds.
    """

    prompt_id: PromptId | None = None
    prompt_version: Annotated[int, Strict(), Field(ge=1, le=2**31 - 1)] | None = None
    variables: Annotated[dict[Text, StorableJson], Field(default_factory=dict)]
    document: Annotated[Text, StringConstraints(max_length=1_000_000)] = ""
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=200)] | None = None
    model: ModelName | None = None
    fallback_models: Annotated[tuple[ModelName, ...], Field(max_length=5)] = ()
    parameters: ParametersIn = ParametersIn()
    privacy: Privacy | None = None

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        if (self.prompt_id is None) == (self.messages is None):
            raise ValueError("give either promptId or messages")
        if self.messages is not None and (self.variables or self.document or self.prompt_version):
            raise ValueError("variables, document and promptVersion belong to a promptId")
        if self.fallback_models and self.model is None:
            raise ValueError("fallbackModels come after a model")
        return self


class QueryRequest(QueryAsked):
    """`jsonSchema`, an object's, makes the answer structured: its `data` has been checked against it."""

    json_schema: dict[Text, StorableJson] | None = None
    wait_seconds: Annotated[Number, Field(ge=0, le=30)] = 10

    @model_validator(mode="after")
    def _structured_answers_take_less(self) -> Self:
        if self.json_schema is not None:
            said = self.parameters
            if said.stop or said.top_p is not None or said.seed is not None:
                raise ValueError("with a jsonSchema only temperature and maxTokens are taken")
        return self


class UsageOut(WireModel):
    """As the provider counted them; null is unknown."""

    input_tokens: int | None
    output_tokens: int | None


class AttemptOut(WireModel):
    """An upstream call: which model, why that one, how it ended."""

    provider: str
    model: str
    reason: str
    outcome: str | None
    error_code: str | None
    usage: UsageOut
    cost_usd: float | None


class ReceiptOut(WireModel):
    """Which model answered, and what it took. `costUsd` is of all attempts; null is unknown, never 0.

    `compressedTokens`: what of the document was not sent because it says nothing new, estimated.
    """

    model: str
    provider: str
    usage: UsageOut
    cost_usd: float | None
    cached: bool
    coverage: float
    compressed_tokens: int = 0
    prompt: str | None
    attempts: list[AttemptOut]


class QueryResult(ReceiptOut):
    """The answer: text in `content`, or, where a schema was given, `data`."""

    query_id: str
    status: Literal[QueryStatus.DONE]
    content: str | None
    data: dict[str, Any] | None
    finish_reason: str


class QueryAccepted(WireModel):
    """The answer is still to come."""

    query_id: str
    status: QueryStatus
    status_url: str
    result_url: str


class QueryError(WireModel):
    code: str
    message: str
    retryable: bool


class QueryStatusOut(QueryAccepted):
    created_at: WireTime
    updated_at: WireTime
    error: QueryError | None
