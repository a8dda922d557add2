"""How an answer is kept as JSON and read again, and which answers are worth keeping."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import orjson
from pydantic import BaseModel

from app.llm.attempts import Usage
from app.llm.call import ToolCall
from app.llm.extraction import Answer
from app.llm.vendors.answer import VendorAnswer

T = TypeVar("T")
_WHOLE = frozenset({"stop", "tool_calls"})


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """`shape` goes into the key: the same text asked for in another form is another answer."""

    shape: Any
    encode: Callable[[T], str]
    decode: Callable[[str], T]
    is_whole: Callable[[T], bool]


def form_codec(form: type[Answer]) -> Codec[Answer]:
    return Codec(_schema_of(form), lambda answer: answer.model_dump_json(), form.model_validate_json, lambda _: True)


def _encode(answer: VendorAnswer) -> str:
    calls = [(call.id, call.name, call.arguments) for call in answer.tool_calls]
    return orjson.dumps([answer.content, calls, answer.finish_reason]).decode()


def _decode(text: str) -> VendorAnswer:
    content, calls, finish_reason = orjson.loads(text)
    return VendorAnswer(content, tuple(ToolCall(*call) for call in calls), finish_reason, Usage())


# An answer that was cut off by its bound may become whole with the next try.
FREE_FORM: Codec[VendorAnswer] = Codec("free", _encode, _decode, lambda answer: answer.finish_reason in _WHOLE)


@lru_cache(maxsize=256)
def _schema_of(form: type[BaseModel]) -> str:
    return orjson.dumps(form.model_json_schema(), option=orjson.OPT_SORT_KEYS).decode()
