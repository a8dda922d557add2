"""The cases of a template: whether what is sent, and what comes back, is as the template's author wants it."""

import json
from collections.abc import Iterator, Sequence

from app.prompts.prompt_version import Message, PromptVersion
from app.prompts.template import AnswerExpectation, Case


def complaints_about_messages(prompt: PromptVersion, case: Case, variant: str = "") -> Iterator[str]:
    """What does not hold of the messages. Words are looked for outside the person's text."""
    system, user = prompt.render(variant, case.variables, case.document or "")
    asked = _without_document(user, case.document)
    yield from _complaints_about_words("the system part", system["content"], case.expect.system)
    yield from _complaints_about_words("the user part", asked, case.expect.user)
    for word in case.expect.absent:
        if word in system["content"] or word in asked:
            yield f"{word!r} must not be in the messages"


def _without_document(user: Message, document: str | None) -> str:
    return user["content"].replace(document, "") if document else user["content"]


def complaints_about_answer(expected: AnswerExpectation, answer: str) -> Iterator[str]:
    """What does not hold of an answer."""
    yield from _complaints_about_words("the answer", answer, expected.contains)
    for word in expected.absent:
        if word in answer:
            yield f"{word!r} must not be in the answer"
    if expected.max_chars is not None and len(answer) > expected.max_chars:
        yield f"the answer has {len(answer)} characters, {expected.max_chars} are allowed"
    missing = _missing_keys(answer, expected.json_keys)
    if missing is None:
        yield "the answer is no JSON object"
    elif missing:
        yield f"the answer has no {', '.join(missing)}"


def _missing_keys(answer: str, keys: Sequence[str]) -> list[str] | None:
    """None when keys are wanted of what is no JSON object."""
    if not keys:
        return []
    try:
        found = json.loads(_without_fence(answer))
    except ValueError:
        return None
    return [key for key in keys if key not in found] if isinstance(found, dict) else None


def _without_fence(answer: str) -> str:
    """Models like to put JSON between fences, asked for it or not."""
    lines = answer.strip().splitlines()
    return "\n".join(lines[1:-1]) if len(lines) > 2 and lines[0].startswith("```") else answer


def _complaints_about_words(where: str, text: str, words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if word not in text:
            yield f"{word!r} is not in {where}"
