"""Which passages of a text answer a query: BM25 (Robertson and Zaragoza 2009), with the usual constants.

Words are compared without case. Scripts that write without spaces are compared by pairs of characters. Nothing is
learned or stored: what is ranked are the passages of one text, or the few pieces of one call.
"""

import re
from collections import Counter
from collections.abc import Sequence
from math import log

from app.context.boundaries import Span, cut_before

_PASSAGE_CHARS = 1200
_SATURATION, _LENGTH_WEIGHT = 1.2, 0.75  # k1 and b
# Thai to Lao, kana, Chinese, Korean syllables: no spaces, or words that change their end.
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"([{_UNSPACED}]+)|[^\W_{_UNSPACED}]+")


def passages_of(document: str) -> list[Span]:
    """The document in passages that end where a paragraph or a sentence does, if one does."""
    spans, start = [], 0
    while start < len(document):
        end = max(cut_before(document, start, start + _PASSAGE_CHARS), start + 1)
        spans.append((start, end))
        start = end
    return spans


def passages_by_relevance(document: str, query: str) -> list[Span]:
    """All passages, the best first and equal ones in the document's order; none where the query finds nothing."""
    spans = passages_of(document)
    scores = relevance([document[start:end] for start, end in spans], query)
    if not any(scores):
        return []
    order = sorted(range(len(spans)), key=lambda place: -scores[place])
    return [spans[place] for place in order]


def relevance(texts: Sequence[str], query: str) -> list[float]:
    """A score for each text, 0 for one that holds no word of the query."""
    wanted = set(words_of(query))
    if not wanted or not texts:
        return [0.0] * len(texts)
    words = [words_of(text) for text in texts]
    found = [Counter(word for word in each if word in wanted) for each in words]
    average = sum(map(len, words)) / len(texts) or 1.0
    rarity = {word: _rarity(sum(word in each for each in found), len(texts)) for word in wanted}
    return [
        sum(rarity[word] * _saturated(times, len(each) / average) for word, times in counts.items())
        for counts, each in zip(found, words, strict=True)
    ]


def words_of(text: str) -> list[str]:
    words: list[str] = []
    for match in _WORD.finditer(text.casefold()):
        run = match.group()
        if match.group(1) and len(run) > 1:
            words += [run[place : place + 2] for place in range(len(run) - 1)]
        else:
            words.append(run)
    return words


def _rarity(texts_with_it: int, texts: int) -> float:
    return log(1 + (texts - texts_with_it + 0.5) / (texts_with_it + 0.5))


def _saturated(times: int, relative_length: float) -> float:
    return times * (_SATURATION + 1) / (times + _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * relative_length))
