"""The upstreams that need no network: the stub, which makes its answers up, and the mock, which has them in fixtures.

For a first look and for tests of what stands above the gateway. Both give the same answer to the same question, stream
it word by word, and write JSON where a schema asks for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import orjson
from pydantic import ValidationError

from app import clock
from app.errors import LLMError, LLMInvalidAnswer
from app.llm.attempts import AttemptOutcome, AttemptRecorder, Usage
from app.llm.call import Delta
from app.llm.extraction import Answer, Extraction, Inquiry, Message, ModelFacts, provider_of, said_in
from app.llm.vendors.answer import VendorAnswer
from app.providers.mock import MockFixtures

T = TypeVar("T")

_FREE = Decimal(0)
_SHOWN_WORDS = 40


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; `schema` None: in words. The messages are a person's text."""

    task: str
    model: str
    messages: tuple[Message, ...] = field(repr=False)
    schema: Mapping[str, Any] | None = None


class Author(Protocol):
    """Writes answers without HTTP."""

    async def write(self, question: Question) -> tuple[str, Usage]:
        """Raises LLMError."""
        ...


class StubAuthor:
    """Makes its answers up from the question."""

    def __init__(self, delay_seconds: float = 0.0) -> None:
        self._delay_seconds = delay_seconds

    async def write(self, question: Question) -> tuple[str, Usage]:
        if self._delay_seconds:
            await clock.sleep(self._delay_seconds)
        text = f"The stub was asked: {_question(question.messages)}"
        if question.schema is not None:
            text = _json_for(question.schema, question.messages)
        return text, Usage(len(_sent(question).split()), len(text.split()), _FREE, _FREE)


class MockAuthor:
    """Answers from fixtures."""

    def __init__(self, fixtures: MockFixtures) -> None:
        self._fixtures = fixtures

    async def write(self, question: Question) -> tuple[str, Usage]:
        _, _, model = question.model.partition("/")
        found = await self._fixtures.answer(task=question.task, model=model, text=_sent(question))
        return found.text, Usage(found.input_tokens, found.output_tokens, _FREE, _FREE)


class OfflineUpstream:
    """Asked as the client is; on the books like any other, at no cost."""

    def __init__(self, author: Author) -> None:
        self._author = author

    def facts(self, provider: str) -> ModelFacts:
        return ModelFacts(
            provider,
            is_listed=True,
            takes_json_schema=True,
            takes_tools=True,
            input_price_usd=_FREE,
            output_price_usd=_FREE,
        )

    async def extract(self, request: Extraction[Answer], recorder: AttemptRecorder) -> Answer:
        schema = request.response_model.model_json_schema()
        question = Question(request.task, request.model, request.messages, schema)

        def read(text: str) -> Answer:
            try:
                return request.response_model.model_validate_json(text)
            except ValidationError:
                raise LLMInvalidAnswer from None

        return await self._ask(question, recorder, read)

    async def complete(self, inquiry: Inquiry, recorder: AttemptRecorder) -> VendorAnswer:
        return await self.stream(inquiry, lambda _piece: None, recorder)

    async def stream(self, inquiry: Inquiry, emit: Callable[[Delta], None], recorder: AttemptRecorder) -> VendorAnswer:
        question = Question(inquiry.task, inquiry.model, inquiry.messages, _schema_in(inquiry))

        def read(text: str) -> VendorAnswer:
            for piece in _pieces(text):
                emit(Delta(piece))
            return VendorAnswer(text, (), "stop", Usage())

        return await self._ask(question, recorder, read)

    async def _ask(self, question: Question, recorder: AttemptRecorder, read: Callable[[str], T]) -> T:
        attempt = await recorder.open(provider=provider_of(question.model), model=question.model)
        attempt.begin()
        outcome, usage, code = AttemptOutcome.CANCELLED, None, None
        try:
            text, usage = await self._author.write(question)
            answer = read(text)
            outcome = AttemptOutcome.OK
        except LLMError as fault:
            is_invalid = isinstance(fault, LLMInvalidAnswer)
            outcome, code = AttemptOutcome.INVALID if is_invalid else AttemptOutcome.ERROR, fault.code
            raise
        finally:
            attempt.settle(outcome, usage=usage, error_code=code)
            recorder.close(attempt)
        return answer


def _schema_in(inquiry: Inquiry) -> Mapping[str, Any] | None:
    wanted = inquiry.options.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema: Mapping[str, Any] = wanted.get("json_schema", {}).get("schema", {})
        return schema
    is_object = wanted.get("type") == "json_object"
    return {"type": "object", "properties": {"answer": {"type": "string"}}} if is_object else None


def _sent(question: Question) -> str:
    return "\n".join(said_in(message) for message in question.messages)


def _question(messages: tuple[Message, ...]) -> str:
    asked = [said_in(message) for message in messages if message.get("role") == "user"]
    return " ".join((asked[-1] if asked else "nothing").split()[:_SHOWN_WORDS])


def _pieces(text: str) -> list[str]:
    words = text.split(" ")
    return [word if place == 0 else f" {word}" for place, word in enumerate(words)]


def _json_for(schema: Mapping[str, Any], messages: tuple[Message, ...]) -> str:
    return orjson.dumps(_instance(schema, schema.get("$defs", {}), _question(messages))).decode()


def _instance(schema: Mapping[str, Any], known: Mapping[str, Any], text: str) -> Any:  # noqa: ANN401 - any JSON
    """A small value of this JSON schema; good enough for plain ones."""
    if "$ref" in schema:
        return _instance(known.get(str(schema["$ref"]).rsplit("/", 1)[-1], {}), known, text)
    if "enum" in schema or "const" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return _instance(schema[several][0], known, text)
    kind = schema.get("type", "string")
    maker: _Maker = _MAKERS.get(kind[0] if isinstance(kind, list) else kind, _string)
    return maker(schema, known, text)


def _object(schema: Mapping[str, Any], known: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {name: _instance(part, known, text) for name, part in schema.get("properties", {}).items()}


def _array(schema: Mapping[str, Any], known: Mapping[str, Any], text: str) -> list[Any]:
    words = text.split() or ["nothing"]
    return [
        _instance(schema.get("items", {}), known, words[place % len(words)])
        for place in range(schema.get("minItems", 1))
    ]


def _string(schema: Mapping[str, Any], _known: Mapping[str, Any], text: str) -> str:
    return text[: schema.get("maxLength", 200)].ljust(schema.get("minLength", 0), ".")


def _number(schema: Mapping[str, Any], _known: Mapping[str, Any], _text: str) -> int:
    return int(schema.get("minimum", 0))


def _boolean(_schema: Mapping[str, Any], _known: Mapping[str, Any], _text: str) -> bool:
    return True


def _null(_schema: Mapping[str, Any], _known: Mapping[str, Any], _text: str) -> None:
    return None


_Maker = Callable[[Mapping[str, Any], Mapping[str, Any], str], Any]
_MAKERS: Mapping[str, _Maker] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": _boolean,
    "null": _null,
}
