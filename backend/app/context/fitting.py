"""A document made to fit: which parts of it a model is shown when it cannot be shown all of it.

What never breaks: the result counts at most `budget_tokens`, its parts stand in the document's order, and coverage
is 1 exactly when nothing was left out. Only as much of a long document is counted as the budget can hold.
"""

from dataclasses import dataclass
from enum import StrEnum

from app.context.boundaries import Span, cut_after, cut_before, trimmed
from app.context.relevance import passages_by_relevance
from app.context.tokens import Count

# Stands for what was left out; the prompt says so to the model. Not a word, so that it suits any language.
GAP = "\n\n[…]\n\n"


class Strategy(StrEnum):
    HEAD = "head"
    TAIL = "tail"
    MIDDLE_OUT = "middle_out"  # the middle goes out, head and tail stay
    SPREAD = "spread"  # head, middle and tail
    RELEVANT = "relevant"  # the passages that answer a query


@dataclass(frozen=True, slots=True)
class Fitted:
    """`coverage` is the share of the document's characters in `text`; `strategy` is None where nothing was left out."""

    text: str
    coverage: float
    tokens: int
    strategy: Strategy | None


# Of the budget, for head, middle and tail; what the outer two leave over goes to the middle.
_SHARES = {
    Strategy.HEAD: (1.0, 0.0, 0.0),
    Strategy.TAIL: (0.0, 0.0, 1.0),
    Strategy.MIDDLE_OUT: (0.5, 0.0, 0.5),
    Strategy.SPREAD: (0.4, 0.25, 0.35),
}
# A count of the whole that need not be made in steps.
_SHORT_CHARS = 32_768
_STEP_CHARS = 2048
_FINEST_STEP_CHARS = 8
_TRIES = 10


def fit(
    document: str, budget_tokens: int, count: Count, strategy: Strategy = Strategy.SPREAD, *, query: str | None = None
) -> Fitted:
    """`document`, or the parts of it that `strategy` chooses. RELEVANT is SPREAD where the query finds nothing.

    `count` is `Tokenizer.count`. The work grows with the budget, and for RELEVANT with the document: off the event
    loop, please.
    """
    tokens = _count_up_to(document, budget_tokens, count)
    if tokens is not None:
        return Fitted(document, 1.0, tokens, None)
    passages = passages_by_relevance(document, query or "") if strategy is Strategy.RELEVANT else []
    if strategy is Strategy.RELEVANT and not passages:
        strategy = Strategy.SPREAD
    room = budget_tokens
    for _ in range(_TRIES):
        if passages:
            spans = _best_spans(document, room, count, passages)
        else:
            spans = _outer_spans(document, room, count, _SHARES[strategy])
        spans = _tidy(document, spans)
        text = _with_gaps(document, spans)
        tokens = count(text)
        if tokens <= budget_tokens:
            return Fitted(text, sum(end - start for start, end in spans) / len(document), tokens, strategy)
        # Parts can count less than what they make together.
        room = room * budget_tokens // tokens - 1
    return Fitted("", 0.0, 0, strategy)


def _count_up_to(document: str, limit: int, count: Count) -> int | None:
    """The tokens of all of it; None if they are more than `limit`, known without counting all of a long one."""
    if len(document) > _SHORT_CHARS:
        # A step more or less: where it is close, only the count of the whole tells.
        enough, tokens = limit + limit // 20 + 64, 0
        for start in range(0, len(document), _STEP_CHARS):
            tokens += count(document[start : start + _STEP_CHARS])
            if tokens > enough:
                return None
    tokens = count(document)
    return tokens if tokens <= limit else None


def _outer_spans(document: str, room: int, count: Count, shares: tuple[float, float, float]) -> list[Span]:
    """Head, middle and tail as far as they have a share."""
    head, middle, tail = shares
    length = len(document)
    room -= count(GAP) * (1 + (middle > 0))
    spans: list[Span] = []
    head_end, tail_start = 0, length
    left = room
    if head and left > 0:
        head_end = cut_before(document, 0, _reach(document, (0, length), int(room * head), count))
        spans.append((0, head_end))
        left -= count(document[:head_end])
    if tail and left > 0:
        # What the head did not use, its cut being where a sentence ends, is not lost for the tail.
        allowance = left - int(room * middle)
        tail_start = cut_after(document, _reach_back(document, (head_end, length), allowance, count), length)
        left -= count(document[tail_start:])
    if middle and left > 0:
        spans.append(_middle_span(document, (head_end, tail_start), left, count))
    return [*spans, (tail_start, length)] if tail else spans


def _middle_span(document: str, within: Span, tokens: int, count: Count) -> Span:
    """Around the middle of what the outer parts leave."""
    centre = sum(within) // 2
    # As wide to the left as half of the tokens reach.
    earliest = _reach_back(document, (within[0], centre), tokens // 2, count)
    start = cut_after(document, earliest, centre) if earliest > within[0] else earliest
    return start, cut_before(document, start, _reach(document, (start, within[1]), tokens, count))


def _best_spans(document: str, room: int, count: Count, passages: list[Span]) -> list[Span]:
    """The best passages, the last of them as far as there is room, in the document's order."""
    gap = count(GAP)
    left = room - gap
    chosen: list[Span] = []
    for start, end in passages:
        cost = count(document[start:end]) + gap
        if cost > left:
            reached = _reach(document, (start, end), left - gap, count)
            chosen.append((start, cut_before(document, start, reached) if reached < end else end))
            break
        chosen.append((start, end))
        left -= cost
    return sorted(chosen)


def _reach(document: str, within: Span, tokens: int, count: Count) -> int:
    """How far `tokens` go from the start of `within`."""
    place, end = within
    step = _STEP_CHARS
    while step >= _FINEST_STEP_CHARS and place < end:
        cost = count(document[place : min(place + step, end)])
        if cost <= tokens:
            tokens -= cost
            place = min(place + step, end)
        else:
            end, step = min(place + step, end), step // 2
    return place


def _reach_back(document: str, within: Span, tokens: int, count: Count) -> int:
    """How far `tokens` go back from the end of `within`."""
    start, place = within
    step = _STEP_CHARS
    while step >= _FINEST_STEP_CHARS and place > start:
        cost = count(document[max(place - step, start) : place])
        if cost <= tokens:
            tokens -= cost
            place = max(place - step, start)
        else:
            start, step = max(place - step, start), step // 2
    return place


def _tidy(document: str, spans: list[Span]) -> list[Span]:
    """No white space at a cut, nothing empty, and one span where nothing but white space lies between two."""
    tidy: list[Span] = []
    for span in spans:
        start, end = trimmed(document, span)
        if start >= end:
            continue
        if tidy and not document[tidy[-1][1] : start].strip():
            tidy[-1] = (tidy[-1][0], end)
        else:
            tidy.append((start, end))
    return tidy


def _with_gaps(document: str, spans: list[Span]) -> str:
    if not spans:
        return ""
    before = "" if spans[0][0] == 0 else GAP.lstrip()
    after = "" if spans[-1][1] == len(document) else GAP.rstrip()
    return before + GAP.join(document[start:end] for start, end in spans) + after
