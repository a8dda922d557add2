"""Title, summary, tags and source type of a text without a model: pure, and valid for every text."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

from app.enrichment.schemas import TAGS_MAX, TAGS_MIN, EnrichmentSchema
from app.items.item import SUMMARY_MAX_CHARS, TAG_MAX_CHARS, TITLE_MAX_CHARS, SourceType

_ARTICLE_CHARS = 1500
_SPARE_TAGS = ("note", "unsorted", "inbox")
# Control characters but the line feed, and halves of surrogate pairs.
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_MARKUP = re.compile(r"^[\s#>*+\-–—=_~|`•]+")
_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_SENTENCE = re.compile(r".+?(?:[.!?…](?=\s|$)|[。！？]|$)")  # the full stops of East Asia too
_WORD = re.compile(r"[^\W\d_]{2,}")
_ASCII_WORD = re.compile(r"[a-z]{3,}")  # the same, of a text in lower case, at a third of the time
_FIRST_PERSON = re.compile(r"\b(?:i|i'm|i've|my|me|we|our|todo|remember|ich|wir|je|nous|yo)\b", re.IGNORECASE)
# Scripts written without spaces: a run of letters there is no word, pairs of them nearly are.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_COMMON_WORDS = frozenset(
    """about after again all also am an and any are as at be because been before being between both but by can
    could day did do does doing down during each few for from get go had has have having he her here hers him
    his how if in into is it its just let like make me more most must my new no nor not now of off on once one
    only or other our out over own same she should so some such than that the their them then there these they
    this those through to too two under until up use very was we were what when where which while who whom why
    will with would yes yet you your der die das und ist nicht ein eine mit auf für von den dem des im zu les
    des est une pour dans que qui sur pas el la los las un una por con para del se""".split()  # noqa: SIM905 - 170 strings read no better
)


def enrichment_of(text: str) -> EnrichmentSchema:
    """An enrichment of any text that is not blank, be it one sign, or without letters, or without spaces."""
    plain = _UNPRINTABLE.sub(" ", text)
    return EnrichmentSchema(
        title=_title(plain),
        summary=_summary(plain),
        tags=_tags(plain),
        source_type=_source_type(plain),
    )


def _title(text: str) -> str:
    """The first sentence of the first line that says something: no link, no rule, no one-word greeting."""
    first = first_word = ""
    for raw_line in text.splitlines():
        line = _MARKUP.sub("", raw_line).strip()
        first = first or line
        if not _WORD.search(_without_links(line)):
            continue
        first_word = first_word or line
        if len(line) >= 12:
            break
    else:
        line = first_word or first
    if not line:
        return f"Note of {len(text.strip())} signs"
    sentence = _SENTENCE.match(line)
    title = _one_line(sentence.group() if sentence else line)
    return _shorten(title.rstrip(".。") or title, TITLE_MAX_CHARS)


def _summary(text: str) -> str:
    """The first sentences, as many as there is room for."""
    line = _one_line(text)
    if line.isascii() and 0 < len(line) <= SUMMARY_MAX_CHARS:
        return line
    summary = ""
    for sentence in _SENTENCE.finditer(line):
        longer = f"{summary} {sentence.group().strip()}".strip()
        if summary and len(longer) > SUMMARY_MAX_CHARS:
            break
        summary = longer
    return _shorten(summary, SUMMARY_MAX_CHARS) or f"A note of {len(text.strip())} signs."


def _tags(text: str) -> list[str]:
    """The most frequent words, earlier ones first among equals; then names of emoji, then general ones."""
    words = Counter(_words(_without_links(text)))
    found = sorted(words, key=words.__getitem__, reverse=True)[:TAGS_MAX]
    if not text.isascii():
        found += [" ".join(name.split()) for name, _ in Counter(_emoji_names(text)).most_common(TAGS_MIN)]
    distinct = list(dict.fromkeys(tag[:TAG_MAX_CHARS].strip() for tag in found))
    distinct = [tag for tag in distinct if tag][:TAGS_MAX]
    spare = [tag for tag in _SPARE_TAGS if tag not in distinct]
    return distinct + spare[: max(0, TAGS_MIN - len(distinct))]


def _words(text: str) -> Iterable[str]:
    if text.isascii():
        return [word for word in _ASCII_WORD.findall(text.lower()) if word not in _COMMON_WORDS]
    return _words_of_any_script(text)


def _words_of_any_script(text: str) -> Iterator[str]:
    for found in _WORD.findall(text):
        word = found.lower()
        if _UNSPACED.search(word):
            yield from (word[at : at + 2] for at in range(0, len(word) - 1, 2))
        elif len(word) >= 3 and word not in _COMMON_WORDS:
            yield word


def _emoji_names(text: str) -> Iterator[str]:
    for char in text:
        if unicodedata.category(char) == "So":
            name = unicodedata.name(char, "").lower()
            if name:
                yield name


def _source_type(text: str) -> SourceType:
    """An article is long or links to one, and does not speak of its writer."""
    is_long = len(text) > _ARTICLE_CHARS or ("://" in text and _URL.search(text) is not None)
    return SourceType.ARTICLE if is_long and not _FIRST_PERSON.search(text[:_ARTICLE_CHARS]) else SourceType.NOTE


def _without_links(text: str) -> str:
    return _URL.sub(" ", text) if "://" in text else text


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _shorten(text: str, limit: int) -> str:
    """At most `limit` characters, cut between words where there are any."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) > limit // 2 else cut).rstrip(" ,;:-–") + "…"
