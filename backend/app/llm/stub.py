"""The upstream that needs no network: it makes its answers up from the question, the same for the same question.

For a first look and for tests of what stands above the gateway. It streams word by word, answers in JSON where a
schema asks for it, and is on the books like any other, at no cost.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import orjson
from pydantic import ValidationError

from app import clock
from app.errors import LLMInvalidAnswer
from app.llm.attempts import Attempt, AttemptOutcome, AttemptRecorder, Usage
from app.llm.call import Delta
from app.llm.extraction import Answer, Extraction, Inquiry, Message, ModelFacts, provider_of
from app.llm.vendor_answer import VendorAnswer

_FREE = Decimal(0)
_SHOWN_WORDS = 40
FACTS = ModelFacts(
    "stub",
    is_listed=True,
    takes_json_schema=True,
    takes_tools=True,
    input_price_usd=_FREE,
    output_price_usd=_FREE,
)


class StubUpstream:
    """Asked as the client is."""

    def __init__(self, delay_seconds: float = 0.0) -> None:
        self._delay_seconds = delay_seconds

    async def extract(self, request: Extraction[Answer], recorder: AttemptRecorder) -> Answer:
        """Raises LLMInvalidAnswer for a form that nothing can be made up for."""
        text = _json_for(request.response_model.model_json_schema(), request.messages)
        try:
            answer = request.response_model.model_validate_json(text)
        except ValidationError:
            answer = None
        await self._answer(request.model, request.messages, text, recorder=recorder, emit=_drop)
        if answer is None:
            raise LLMInvalidAnswer
        return answer

    async def complete(self, inquiry: Inquiry, recorder: AttemptRecorder) -> VendorAnswer:
        return await self.stream(inquiry, _drop, recorder)

    async def stream(self, inquiry: Inquiry, emit: Callable[[Delta], None], recorder: AttemptRecorder) -> VendorAnswer:
        return await self._answer(inquiry.model, inquiry.messages, _text_for(inquiry), recorder=recorder, emit=emit)

    async def _answer(
        self,
        model: str,
        messages: tuple[Message, ...],
        text: str,
        *,
        recorder: AttemptRecorder,
        emit: Callable[[Delta], None],
    ) -> VendorAnswer:
        attempt = await recorder.open(provider=provider_of(model), model=model)
        attempt.begin()
        outcome, usage = AttemptOutcome.CANCELLED, None
        try:
            if self._delay_seconds:
                await clock.sleep(self._delay_seconds)
            for piece in _pieces(text):
                emit(Delta(piece))
            outcome, usage = AttemptOutcome.OK, Usage(_words(messages), len(text.split()), _FREE, _FREE)
        finally:
            _close(attempt, outcome, usage, recorder)
        return VendorAnswer(text, (), "stop", usage)


def _drop(_piece: Delta) -> None:
    """For an answer that is given as a whole."""


def _close(attempt: Attempt, outcome: AttemptOutcome, usage: Usage | None, recorder: AttemptRecorder) -> None:
    attempt.settle(outcome, usage=usage)
    recorder.close(attempt)


def _text_for(inquiry: Inquiry) -> str:
    wanted = inquiry.options.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return _json_for(wanted.get("json_schema", {}).get("schema", {}), inquiry.messages)
    if wanted.get("type") == "json_object":
        return orjson.dumps({"answer": _question(inquiry.messages)}).decode()
    return f"The stub was asked: {_question(inquiry.messages)}"


def _question(messages: tuple[Message, ...]) -> str:
    asked = [str(message.get("content") or "") for message in messages if message.get("role") == "user"]
    return " ".join((asked[-1] if asked else "nothing").split()[:_SHOWN_WORDS])


def _words(messages: tuple[Message, ...]) -> int:
    return sum(len(str(message.get("content") or "").split()) for message in messages)


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
