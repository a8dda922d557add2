"""One version of a prompt, ready to be rendered: the value that calls are made from.

Rendering is pure. The system part depends on values of closed types alone, and a person's text reaches only the
user's message, between its markers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from app.errors import PromptRefused
from app.prompts.checking import complaint_about_document
from app.prompts.document import with_document
from app.prompts.sandbox import render
from app.prompts.template import EnvironmentOverride, ModelHints, Override, PromptBody, Variant
from app.prompts.variables import complete_values

Message = dict[str, str]

# By the kinds of providers. One that is not listed gets the template's own parts.
_VARIANTS: Mapping[str, Variant] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "openai_compatible": "local",
    "local": "local",
}
_NOTHING = Override()
_NO_ENVIRONMENT = EnvironmentOverride()


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """A version of a prompt. `messages` holds the system messages that it composes, as they were when it was made."""

    id: str
    version: int
    category: str
    body: PromptBody = field(repr=False)
    messages: Mapping[str, str] = field(repr=False)
    environment: str

    @property
    def label(self) -> str:
        """As it is kept with every result."""
        return f"{self.id}/{self.version}"

    @property
    def hints(self) -> ModelHints:
        """What suits it in this environment."""
        return self._override.model or self.body.model

    @property
    def _override(self) -> EnvironmentOverride:
        return next(
            (part for name, part in self.body.environments.items() if name == self.environment), _NO_ENVIRONMENT
        )

    def render(self, variant: str, variables: Mapping[str, Any], document: str = "") -> tuple[Message, ...]:
        """The messages for a provider of the kind `variant`; the same for the same arguments.

        Raises PromptRefused, which names each value that is missing, of a wrong type, out of bounds or unknown.
        """
        values = self._checked(variables, document)
        system, user = self._parts(variant)
        asked = render(user, values)
        content = with_document(asked, document) if document else asked
        return ({"role": "system", "content": self._composed(system, values)}, {"role": "user", "content": content})

    def _checked(self, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
        values, complaints = complete_values(self.body.variables, variables)
        errors = [
            {"field": f"variables.{name}", "rule": "variable", "message": complaint}
            for name, complaint in sorted(complaints.items())
        ]
        complaint = complaint_about_document(self.body.document, document)
        if complaint:
            errors.append({"field": "document", "rule": "document", "message": complaint})
        if errors:
            sentence = "; ".join(f"{error['field']} {error['message']}" for error in errors[:3])
            raise PromptRefused(f"The values do not fit the prompt {self.label}: {sentence}.", {"errors": errors})
        return values

    def _parts(self, kind: str) -> tuple[tuple[Any, ...], str]:
        """Of the variant, else of the environment, else the template's own; an environment's before a template's."""
        variant = _VARIANTS.get(kind)
        if variant is None:
            chosen: tuple[Override, ...] = (self._override,)
        else:
            chosen = (
                self._override.variants.get(variant, _NOTHING),
                self.body.variants.get(variant, _NOTHING),
                self._override,
            )
        system = next((part.system for part in chosen if part.system is not None), self.body.system)
        user = next((part.user for part in chosen if part.user is not None), self.body.user)
        return system, user

    def _composed(self, pieces: tuple[Any, ...], values: Mapping[str, Any]) -> str:
        texts = (
            self.messages[piece.message].strip() if piece.message is not None else render(piece.text, values)
            for piece in pieces
        )
        return "\n\n".join(text for text in texts if text)


def messages_used(body: PromptBody, messages: Mapping[str, str]) -> dict[str, str]:
    """Those of the system messages that the body composes, in any variant or environment."""
    environments = body.environments.values()
    parts: list[PromptBody | Override] = [body, *body.variants.values(), *environments]
    parts += [part for environment in environments for part in environment.variants.values()]
    names = {piece.message for part in parts for piece in part.system or () if piece.message is not None}
    return {name: messages[name] for name in sorted(names)}


def content_of(body: PromptBody, messages: Mapping[str, str]) -> dict[str, Any]:
    """All that shapes a call, as it is stored: the body, and the text of each system message that it names."""
    return {"body": body.model_dump(mode="json", exclude_defaults=True), "messages": messages_used(body, messages)}


def digest_of(content: Mapping[str, Any]) -> str:
    """The same for the same content, however its keys are ordered."""
    return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
