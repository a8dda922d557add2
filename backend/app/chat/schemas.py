"""The bodies of OpenAI's wire, as far as it is spoken here: snake_case, and unknown fields are refused as OpenAI does.

What a client may send without meaning it for the model (`user`, `metadata`, …) is taken and not passed on; what would
shape the answer and cannot be passed on is refused rather than ignored.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StringConstraints,
    Tag,
    model_validator,
)

from app.queries.schemas import ModelName, Number, StopText
from app.web import Text, storable_json

Json = Annotated[dict[str, JsonValue], AfterValidator(storable_json)]
_Name = Annotated[Text, StringConstraints(min_length=1, max_length=64)]
# A bare name is OpenAI's, as in OpenAI's own API.
AnyModelName = ModelName | Annotated[Text, StringConstraints(min_length=1, max_length=200, pattern=r"^[^/\s]+$")]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextPart(_Closed):
    """`cache_control` is Anthropic's: up to here the prompt may be kept in its cache."""

    type: Literal["text"]
    text: Annotated[Text, StringConstraints(max_length=1_000_000)]
    cache_control: Json | None = None


class ImagePart(_Closed):
    class Image(_Closed):
        # A plain http address would be fetched from here for a vendor that takes none.
        url: Annotated[Text, StringConstraints(pattern=r"^(https://|data:image/)\S+$")]
        detail: Literal["auto", "low", "high"] | None = None

    type: Literal["image_url"]
    image_url: Image


class AudioPart(_Closed):
    class Audio(_Closed):
        data: Annotated[Text, StringConstraints(min_length=1)]
        format: Literal["wav", "mp3"]

    type: Literal["input_audio"]
    input_audio: Audio


class FilePart(_Closed):
    class File(_Closed):
        file_data: Annotated[Text, StringConstraints(pattern=r"^data:\S+$")] | None = None
        file_id: Annotated[Text, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,200}$")] | None = None
        filename: Annotated[Text, StringConstraints(max_length=255)] | None = None

        @model_validator(mode="after")
        def _is_one(self) -> Self:
            if (self.file_data is None) == (self.file_id is None):
                raise ValueError("give either file_data or file_id")
            return self

    type: Literal["file"]
    file: File


# A piece of a message's content; passed on as it is.
Part = Annotated[TextPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")]


def _form_of(content: object) -> str:
    return "parts" if isinstance(content, list) else "text"


# Told apart before, so that a complaint is about the form that was meant.
Content = Annotated[
    Annotated[Text, StringConstraints(max_length=1_000_000), Tag("text")] | Annotated[list[Part], Tag("parts")],
    Discriminator(_form_of),
]


class ToolFunction(_Closed):
    name: _Name
    arguments: Annotated[Text, StringConstraints(max_length=200_000)]


class ToolCallSaid(_Closed):
    id: _Name
    type: Literal["function"] = "function"
    function: ToolFunction


class ChatMessage(_Closed):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: _Name | None = None
    tool_call_id: _Name | None = None
    tool_calls: Annotated[list[ToolCallSaid], Field(min_length=1, max_length=128)] | None = None
    refusal: None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.content and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("content must not be empty")
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("a tool's message names its tool_call_id")
        return self


class FunctionTool(_Closed):
    class Function(_Closed):
        name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
        description: Annotated[Text, StringConstraints(max_length=20_000)] | None = None
        parameters: Json | None = None
        strict: bool | None = None

    type: Literal["function"]
    function: Function


class FunctionChoice(_Closed):
    class Function(_Closed):
        name: _Name

    type: Literal["function"]
    function: Function


class ResponseFormat(_Closed):
    class JsonSchema(_Closed):
        name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
        description: Text | None = None
        schema_: Annotated[Json | None, Field(alias="schema")] = None
        strict: bool | None = None

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema comes with the type json_schema")
        return self


class StreamOptions(_Closed):
    include_usage: bool = False


class ChatRequest(_Closed):
    """`model` is `provider/model`, for operators, or `task:NAME`; `fallback_models` is ours, for operators."""

    model: AnyModelName
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=2000)]
    fallback_models: Annotated[tuple[AnyModelName, ...], Field(max_length=5)] = ()
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=200_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=200_000)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = None
    tools: Annotated[list[FunctionTool], Field(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    n: Literal[1] | None = 1
    user: Text | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: Text | None = None
    prompt_cache_key: Text | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options come with stream")
        if self.tool_choice is not None and self.tools is None:
            raise ValueError("tool_choice comes with tools")
        if self.parallel_tool_calls is not None and self.tools is None:
            raise ValueError("parallel_tool_calls comes with tools")
        return self


class FunctionOut(BaseModel):
    name: str
    arguments: str


class ToolCallOut(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: FunctionOut


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[ToolCallOut] | None = None


class Choice(BaseModel):
    index: int = 0
    message: AnswerMessage
    finish_reason: str
    logprobs: None = None


class TokensUsed(BaseModel):
    """Always there, as clients expect. What the provider did not count is 0 here; the native API says null."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class LiteVaultReceipt(BaseModel):
    """What OpenAI's wire has no field for. `cost_usd` null is unknown, never 0."""

    provider: str
    cost_usd: float | None
    cached: bool
    attempts: int


class ChatCompletion(BaseModel):
    """`model` is the one that answered."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: TokensUsed
    litevault: LiteVaultReceipt


class ModelOut(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelOut]


def message_of(message: ChatMessage) -> dict[str, Any]:
    """As it is sent on: what the client did not say is left out."""
    return message.model_dump(mode="json", exclude_none=True)
