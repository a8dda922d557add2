"""The form that instructor asks an answer in, made once for each response model.

Made anew for each call, as instructor does with a plain model, it is a third of what a call costs in CPU.
"""

import re
from collections.abc import Callable
from typing import Any

import orjson
from pydantic import BaseModel

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL)


def answer_form(response_model: type[BaseModel], prepare: Callable[[type[BaseModel]], Any]) -> type[BaseModel]:
    """A subclass of what `prepare` (instructor's) makes of the model, with its schema kept.

    It also reads an answer that is one Markdown fence with prose around, which JSON mode would else pay a
    re-ask for.
    """
    prepared: Any = prepare(response_model)
    schema = orjson.dumps(prepared.model_json_schema())

    class Form(prepared):  # type: ignore[misc]
        @classmethod
        def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's
            # A copy each time: the vendors' adapters edit the schema that they are given.
            copy: dict[str, Any] = orjson.loads(schema)
            return copy

        @classmethod
        def model_validate_json(cls, json_data: str, **kwargs: Any) -> Any:  # noqa: ANN401 - pydantic's
            return super().model_validate_json(without_fence(json_data), **kwargs)

    # The name is sent upstream as the name of the tool or of the schema.
    Form.__name__ = Form.__qualname__ = response_model.__name__
    Form.__doc__ = response_model.__doc__
    return Form


def without_fence(text: str) -> str:
    """What stands in the only Markdown fence of `text`; else `text` itself."""
    if "```" not in text or text.lstrip().startswith("{"):
        return text
    fences = _FENCE.findall(text)
    return fences[0] if len(fences) == 1 else text
