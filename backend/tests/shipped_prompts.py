"""The prompts that ship, without a database: for whoever needs an enrichment provider or its messages."""

from functools import cache

from app.enrichment.prompts import PROMPT_ID, enrichment_messages
from app.prompts.prompt_version import Message
from app.prompts.registry import PromptRegistry, as_in_files


@cache
def shipped_prompts() -> PromptRegistry:
    return as_in_files("development")


def messages_for(text: str) -> tuple[Message, ...]:
    """What a model is told for the enrichment of a text."""
    return enrichment_messages(shipped_prompts().get(PROMPT_ID), text)
