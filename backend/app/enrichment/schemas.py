"""What an enrichment is: the form that a model must answer in, and the result that the worker stores.

The bounds here are the only ones: the prompt, the JSON schema sent upstream and the check of the answer
all come from `EnrichmentSchema`.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator

from app.items.item import SUMMARY_MAX_CHARS, TAG_MAX_CHARS, TITLE_MAX_CHARS, SourceType

TAGS_MIN, TAGS_MAX = 3, 5


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


_CleanText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_without_nul)]


class EnrichmentSchema(BaseModel):
    """A title, a summary, tags and the kind of source for one text."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: Annotated[_CleanText, Field(max_length=TITLE_MAX_CHARS, description="A descriptive title.")]
    summary: Annotated[_CleanText, Field(max_length=SUMMARY_MAX_CHARS, description="A concise summary.")]
    tags: Annotated[
        list[Annotated[_CleanText, Field(max_length=TAG_MAX_CHARS)]],
        Field(description=f"{TAGS_MIN} to {TAGS_MAX} distinct topics, lower case."),
    ]
    source_type: Annotated[SourceType, Field(description="NOTE for a personal note, ARTICLE for a published text.")]

    @field_validator("tags")
    @classmethod
    def _normalised(cls, tags: list[str]) -> list[str]:
        distinct = list(dict.fromkeys(" ".join(tag.lower().split()) for tag in tags))
        if any(len(tag) > TAG_MAX_CHARS for tag in distinct):  # some letters are two in lower case
            raise ValueError(f"must hold tags of at most {TAG_MAX_CHARS} characters")
        if not TAGS_MIN <= len(distinct) <= TAGS_MAX:
            raise ValueError(f"must hold {TAGS_MIN} to {TAGS_MAX} distinct tags")
        return distinct


@dataclass(frozen=True, slots=True)
class EnrichmentResult:
    """A checked answer and where it came from. `coverage` is the part of the text that the model saw, 0 to 1."""

    content: EnrichmentSchema
    provider: str
    model: str
    prompt_version: str
    coverage: float = 1.0
    cached: bool = False
