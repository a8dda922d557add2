"""What the fake model was asked, and its good answer: a pure function of the text, the same in every process.

Invariant: `enrichment_for` never repeats 30 characters of the text in one piece, so that a test which looks
for leaked text does not find the answer instead.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

MARKER = re.compile(r"\[\[fault:([^\]]*)\]\]")

_WORD = re.compile(r"[^\W\d_]{4,}")
_WORD_LENGTH = 9
_READ_CHARACTERS = 600
_ARTICLE_CHARACTERS = 1500
_SPARE_TAGS = ("note", "memo", "inbox")


@dataclass(slots=True, frozen=True)
class Ask:
    """One request for a completion, freed from the vendor's spelling.

    `mode` is one of tools, json_schema, json_object, md_json, plain. `user_texts` holds the user's messages
    in order, never empty; the first is the note, a last one that differs is a re-ask. `schema` is that of the
    tool in mode tools, that of the answer in mode json_schema.
    """

    model: str
    mode: str
    user_texts: tuple[str, ...]
    prompt_tokens: int
    messages: int
    stream: bool = False
    stream_usage: bool = False
    tool_name: str | None = None
    schema: Mapping[str, Any] | None = None
    key: str | None = None
    correlation_id: str | None = None

    @property
    def first_text(self) -> str:
        return self.user_texts[0]

    @property
    def last_text(self) -> str:
        return self.user_texts[-1]


def tokens_of(text: str) -> int:
    """Four characters a token, rounded up; nothing costs nothing."""
    return (len(text) + 3) // 4


def digest_of(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def enrichment_for(text: str) -> dict[str, object]:
    """Title, summary, three to five tags and source type. Two different texts differ in their summaries."""
    plain = MARKER.sub(" ", text)
    words = [word.lower()[:_WORD_LENGTH] for word in _WORD.findall(plain[:_READ_CHARACTERS])]
    distinct = list(dict.fromkeys(words))
    subject = ", ".join(distinct[:2]) or "nothing much"
    # Spare tags only fill up to three, and never repeat a word that is there already.
    tags = distinct[:5]
    tags += [tag for tag in _SPARE_TAGS if tag not in tags][: max(0, 3 - len(tags))]
    is_article = "http://" in plain or "https://" in plain or len(plain) > _ARTICLE_CHARACTERS
    return {
        "title": f"About {subject}",
        "summary": f"{len(plain)} characters on {subject}; reference {digest_of(text)[:12]}.",
        "tags": tags,
        "source_type": "ARTICLE" if is_article else "NOTE",
    }


def words_for(text: str) -> str:
    """Plain words about the text: long enough for a stream of a dozen chunks, and never 30 characters of it."""
    answer = enrichment_for(text)
    subjects = " ".join(f"One could say something about {subject}." for subject in _strings(answer["tags"]))
    return f"{answer['title']}. {answer['summary']} {subjects} That is all there is to say."


def _strings(value: object) -> list[str]:
    return [str(part) for part in value] if isinstance(value, list) else []
