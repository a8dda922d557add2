"""What the model is told for an enrichment: the prompt `enrichment`, with the bounds of the schema.

The bounds come from the schema, so the prompt cannot promise other ones than the check.
"""

from app.enrichment.schemas import TAGS_MAX, TAGS_MIN
from app.items.item import SUMMARY_MAX_CHARS, TAG_MAX_CHARS, TITLE_MAX_CHARS
from app.prompts.prompt_version import Message, PromptVersion

PROMPT_ID = "enrichment"
BOUNDS = {
    "title_max_chars": TITLE_MAX_CHARS,
    "summary_max_chars": SUMMARY_MAX_CHARS,
    "tag_max_chars": TAG_MAX_CHARS,
    "tags_min": TAGS_MIN,
    "tags_max": TAGS_MAX,
}


def enrichment_messages(prompt: PromptVersion, text: str, variant: str = "") -> tuple[Message, ...]:
    """The messages for one text and a provider of this kind, the same for the same text."""
    return prompt.render(variant, BOUNDS, text)
