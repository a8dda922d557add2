"""What the server needs of a vendor's wire. A module with these names is one; `openai` is the first."""

from collections.abc import Mapping
from typing import Protocol

from tests.protocol_server.answers import Ask
from tests.protocol_server.faults.plan import Plan


class Wire(Protocol):
    @property
    def ID_PREFIX(self) -> str:  # noqa: N802 - a module's constant
        """Before the unique part of an answer's id."""

    def read_ask(self, body: bytes, headers: Mapping[str, str]) -> Ask:
        """Raises ValueError, TypeError, KeyError or AttributeError when the body asks for no completion."""

    def completion(self, plan: Plan, answer_id: str) -> tuple[bytes, int]:
        """Body and completion tokens."""

    def failure(self, plan: Plan) -> bytes:
        """Body of `plan.error`."""

    def error_body(self, message: str, kind: str, code: str | None = None, param: str | None = None) -> bytes: ...
