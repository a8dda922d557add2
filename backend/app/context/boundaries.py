"""Where a text may be cut: at a paragraph's, a sentence's or a word's end if one is near, never inside a character.

A character is what a person sees as one, a grapheme cluster: a letter with its accents, a flag, a family of emoji,
CR LF. Of a run of flags or accents only the last thousand code points before a cut are looked at.
"""

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

# Start and end of a part of a text.
Span = tuple[int, int]

_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*\s+|[。！？｡]+[」』”’）]*\s*|\n\s*")
_WORD_END = re.compile(r"\s+|(?<=[、，；：])")
# A better cut is worth this share of the piece, and never more than a few paragraphs.
_WORTH = ((_PARAGRAPH_END, 0.1), (_SENTENCE_END, 0.2), (_WORD_END, 0.3))
# Two halves that came apart, as JSON may hold them: together they are one character again.
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_WORTH_CHARS = 2000
# Between two of these a character always ends.
_PLAIN_PAIR = re.compile("[\x20-\x7e\xc0-\u02ff\u0400-\u0481\u3041-\u3096\u4e00-\u9fff，。]{2}")
_LOOK_BACK_CHARS = 1024
_LONGEST_CLUSTER_CHARS = 256


def cut_before(text: str, start: int, latest: int) -> int:
    """The best end of a piece that begins at `start` and may reach `latest`."""
    if latest >= len(text):
        return len(text)
    for pattern, share in _WORTH:
        earliest = max(start, latest - min(int((latest - start) * share), _WORTH_CHARS) - 1)
        ends = [found.end() for found in pattern.finditer(text, earliest, latest)]
        if ends:
            return max(start, whole_before(text, ends[-1]))
    return max(start, whole_before(text, latest))


def cut_after(text: str, earliest: int, end: int) -> int:
    """The best start of a piece that ends at `end` and may begin at `earliest`."""
    if earliest <= 0:
        return 0
    for pattern, share in _WORTH:
        latest = earliest + min(int((end - earliest) * share), _WORTH_CHARS)
        # One character earlier, so that an end exactly at `earliest` is found.
        found = pattern.search(text, earliest - 1, latest)
        if found and found.end() >= earliest:
            return min(end, whole_after(text, found.end()))
    return min(end, whole_after(text, earliest))


def trimmed(text: str, span: Span) -> Span:
    """Without the white space at a cut; an accent that stands on a space keeps it."""
    start, end = span
    if start > 0:
        start = whole_before(text, end - len(text[start:end].lstrip()))
    if end < len(text):
        end = whole_after(text, start + len(text[start:end].rstrip()))
    return start, end


def whole_before(text: str, place: int) -> int:
    """The last place at or before `place` that is not inside a character."""
    if place <= 0 or place >= len(text):
        return min(max(place, 0), len(text))
    if _SURROGATE_PAIR.match(text, place - 1):
        return place - 1
    begin = _sure_start(text, place)
    # A slice, not the text from a place on: for each flag the matcher goes back to where the flags begin.
    for cluster in _cluster().finditer(text[begin : place + _LONGEST_CLUSTER_CHARS]):
        if begin + cluster.end() > place:
            return begin + cluster.start()
    return place


def whole_after(text: str, place: int) -> int:
    """The first place at or after `place` that is not inside a character."""
    before = whole_before(text, place)
    if before >= place:
        return before
    if _SURROGATE_PAIR.match(text, before):
        return before + 2
    cluster = _cluster().match(text[before : place + _LONGEST_CLUSTER_CHARS])
    return before + cluster.end() if cluster else len(text)


@cache
def _cluster() -> "regex.Pattern[str]":
    import regex  # noqa: PLC0415 - 6 MB, for long texts alone

    return regex.compile(r"\X")


def _sure_start(text: str, place: int) -> int:
    """A place at or before `place` where a character begins, whatever stands before it."""
    for start in range(place, max(0, place - _LOOK_BACK_CHARS), -1):
        if _PLAIN_PAIR.match(text, start - 1):
            return start
    return max(0, place - _LOOK_BACK_CHARS)
