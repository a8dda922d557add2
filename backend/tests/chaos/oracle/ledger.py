"""The books against the upstream's own: every call booked before it left, every known figure true, none made up."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.chaos.evidence import AttemptRow, Evidence
from tests.chaos.oracle.spending import UNUSED
from tests.protocol_server.answers import digest_of
from tests.protocol_server.calls import Call
from tests.shipped_prompts import messages_for

_KNOWN = {"OK", "INVALID"}


def find_open_attempts(evidence: Evidence) -> Iterator[str]:
    for attempt in evidence.attempts:
        if attempt.outcome is None:
            yield f"attempt {attempt.id} of item {attempt.item_id} (claim {attempt.claim_seq}) has no outcome"


def find_unbooked_calls(evidence: Evidence) -> Iterator[str]:
    """Each call names an attempt that was booked before it arrived, of the item whose text it carries."""
    booked = {attempt.id: attempt for attempt in evidence.attempts}
    texts = _items_by_text(evidence)
    for call in evidence.calls or ():
        attempt, item_id = booked.get(call.correlation_id or ""), texts.get(call.first_text_sha256)
        if attempt is None:
            yield f"call {call.seq} (item {item_id}) has no attempt {call.correlation_id}"
        elif attempt.item_id != item_id:
            yield f"call {call.seq} carries the text of item {item_id}, its attempt is of item {attempt.item_id}"
        elif attempt.started_at > call.arrived_at:
            yield f"call {call.seq} arrived before its attempt {attempt.id} was booked"
    for attempt_id, calls in Counter(call.correlation_id for call in evidence.calls or ()).items():
        if calls > 1:
            yield f"attempt {attempt_id} made {calls} calls"


def find_unbooked_texts(evidence: Evidence) -> Iterator[str]:
    """The same without the header: no more calls with an item's texts than it has attempts."""
    texts = _items_by_text(evidence)
    arrived = Counter(texts.get(call.first_text_sha256) for call in evidence.calls or ())
    for item_id, calls in arrived.items():
        attempts = len(evidence.spent.get(item_id or "", ()))
        if calls > attempts:
            yield f"item {item_id}: {calls} calls, {attempts} attempts"


def find_wrong_bills(evidence: Evidence) -> Iterator[str]:
    """What is known is what the upstream billed; what is unknown is null; and the sums agree."""
    if evidence.calls is None:
        return
    by_attempt = {call.correlation_id: call for call in evidence.calls}
    booked = doubtful = 0
    for attempt in evidence.attempts:
        call = by_attempt.get(attempt.id)
        billed = None if call is None else (call.billed_input_tokens, call.billed_output_tokens)
        known = (attempt.input_tokens, attempt.output_tokens)
        yield from (f"attempt {attempt.id} ({attempt.outcome}): {what}" for what in _disagreement(attempt, call))
        if None not in known:
            booked += sum(count for count in known if count is not None)
        elif billed is not None:
            doubtful += sum(billed)
    total = sum(call.billed_input_tokens + call.billed_output_tokens for call in evidence.calls)
    if booked + doubtful != total:
        yield f"{booked} tokens booked and {doubtful} in doubt, the upstream billed {total}"


def find_wrong_costs(evidence: Evidence) -> Iterator[str]:
    for attempt in evidence.attempts:
        tokens = (attempt.input_tokens, attempt.output_tokens)
        prices = (attempt.input_price_usd, attempt.output_price_usd)
        if None in (*tokens, *prices):
            if attempt.cost_usd is not None:
                yield f"attempt {attempt.id} costs {attempt.cost_usd}, though a count or a price is unknown"
            continue
        cost = sum((count or 0) * (price or 0) for count, price in zip(tokens, prices, strict=True))
        if attempt.cost_usd != cost:
            yield f"attempt {attempt.id} costs {attempt.cost_usd}, its tokens {cost}"


def _disagreement(attempt: AttemptRow, call: Call | None) -> Iterator[str]:
    tokens = (attempt.input_tokens, attempt.output_tokens)
    if (None in tokens) != (tokens == (None, None)):
        yield f"only one of the counts {tokens} is known"
    if call is None:
        if attempt.outcome in _KNOWN:
            yield "the upstream has no such call"
        elif any(tokens):
            yield f"{tokens} tokens, and the upstream has no such call"
    else:
        yield from _disagreement_with(call, attempt.outcome, tokens)


def _disagreement_with(call: Call, outcome: str | None, tokens: tuple[int | None, int | None]) -> Iterator[str]:
    billed = (call.billed_input_tokens, call.billed_output_tokens)
    if outcome == UNUSED:
        yield f"the upstream has its call {call.seq}"
    elif tokens == (None, None):
        if outcome in _KNOWN:
            yield f"its tokens are unknown, billed {billed} (fault {call.fault})"
    elif tokens != billed:
        yield f"{tokens} tokens, billed {billed} (fault {call.fault})"


def _items_by_text(evidence: Evidence) -> dict[str, str]:
    """By the digest of the message in which the text goes out; an edited item had several texts."""
    texts: dict[str, set[str]] = defaultdict(set)
    for item in evidence.items.values():
        texts[item.id].add(item.raw_text)
    for event in evidence.events:
        change = (event.changes or {}).get("raw_text")
        if change is not None:
            texts[event.item_id] |= {change["from"], change["to"]}
    return {digest_of(messages_for(text)[-1]["content"]): id_ for id_, own in texts.items() for text in own}
