"""What the fake model says where a test wants to know it word for word.

A text is said as it is, also where a form was asked for; an object is the JSON of the answer, or the arguments
of the tool. Invariant: an answer by marker goes before one by model, and both stay until `reset`.
"""

import re
from collections.abc import Mapping

from tests.protocol_server.answers import Ask

Answer = str | Mapping[str, object]

_MARKER = re.compile(r"\[\[answer:([^\]]*)\]\]")


class Answers:
    """The scripted answers of one server."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._by_model: dict[str, Answer] = {}
        self._by_marker: dict[str, Answer] = {}

    def add(self, answer: Answer, *, model: str | None = None, marker: str | None = None) -> None:
        """For every call of the model, or with `[[answer:MARKER]]` in its text. Raises ValueError and TypeError."""
        if not isinstance(answer, str | Mapping):
            raise TypeError("an answer is a text or an object")
        if (model is None) == (marker is None):
            raise ValueError("an answer is for a model or for a marker")
        if model is not None:
            self._by_model[model] = answer
        elif marker is not None:
            self._by_marker[marker] = answer

    def find(self, ask: Ask) -> Answer | None:
        """A marker that nobody scripted is itself the answer: `[[answer:Forty-two.]]`."""
        for text in ask.user_texts:
            if "[[answer:" in text and (found := _MARKER.search(text)):
                name = found.group(1)
                return self._by_marker.get(name, name)
        return self._by_model.get(ask.model)
