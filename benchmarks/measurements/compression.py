"""What compression saves over the mixed corpus of the tests and what it loses; how fast texts are counted, fitted."""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from app.context.compression import Steps, compress
from app.context.fitting import Strategy, fit
from app.context.tokens import ESTIMATOR, Tokenizer, tokenizer_of
from benchmarks.figure import Figure
from benchmarks.run import Run
from tests.context.corpus import Pasted, mixed_corpus
from tests.context.scripts import long_document

_MEGABYTE = 1_000_000
_BUDGET_TOKENS = 100_000
_TURNS = 5
# As the task of enrichment has it.
_SHIPPED = Steps(blanks=True, repeats=True)


async def compression(run: Run) -> list[Figure]:
    """Tokens saved over a mixed corpus with planted facts; speed of counting, compressing and fitting a megabyte."""
    tokenizer = tokenizer_of("gpt-4o")
    figures = _savings(run, list(mixed_corpus(texts_of_each_kind=run.size(30, 6))), tokenizer)
    document = long_document(chars=_MEGABYTE)
    for known in (tokenizer, ESTIMATOR):
        seconds = _seconds(partial(known.count, document))
        figures.append(Figure(f"counting, {known.name}", known.count(document) / seconds / 1e6, "M tokens/s"))
    for strategy in Strategy:
        work = partial(fit, document, _BUDGET_TOKENS, tokenizer.count, strategy, query="member 5")
        figures.append(Figure(f"fit 1 MB into {_BUDGET_TOKENS:,} tokens, {strategy}", _seconds(work) * 1000, "ms"))
    figures.append(
        Figure("compress 1 MB", _seconds(partial(compress, document, tokenizer.count, _SHIPPED)) * 1000, "ms")
    )
    return figures


def _savings(run: Run, corpus: list[Pasted], tokenizer: Tokenizer) -> list[Figure]:
    before, after = Counter[str](), Counter[str]()
    facts = lost = 0
    for pasted in corpus:
        result = compress(pasted.text, tokenizer.count, _SHIPPED)
        before[pasted.kind] += result.tokens_before
        after[pasted.kind] += result.tokens_after
        facts += len(pasted.facts)
        lost += sum(fact not in result.text for fact in pasted.facts)
    for kind, tokens in before.items():
        run.say(f"{kind}: {tokens:,} tokens, {1 - after[kind] / tokens:.1%} saved")
    saved = 1 - after.total() / before.total()
    run.say(f"together: {before.total():,} tokens, {saved:.1%} saved; {lost} of {facts:,} planted facts lost")
    return [
        Figure("tokens saved by compression", saved * 100, "%", target=15),
        Figure(f"facts lost by it, of {facts:,}", lost, "facts", target=0, is_better="less"),
    ]


def _seconds(work: Callable[[], object]) -> float:
    """The middle one of a few turns, after one that loads what there is to load."""
    work()
    times = []
    for _ in range(_TURNS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return sorted(times)[_TURNS // 2]
