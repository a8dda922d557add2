"""Compression: what it saves over a mixed corpus, and that no planted fact is lost for it."""

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.context.compression import Compressed, Steps, compress
from app.context.tokens import ESTIMATOR, tokenizer_of
from tests.context.corpus import Pasted, mixed_corpus
from tests.context.scripts import SAMPLES

TOKENS = tokenizer_of("gpt-4o").count
CORPUS = list(mixed_corpus())
NOTHING = Steps()
ALL = Steps(blanks=True, repeats=True, comments=True)
LINES = (
    *SAMPLES.values(), "", " ", "\t", "\u00a0", "\u200b", "a  b", "-----", "...... 7", "again", "```", "```python",
    "~~~", "# why", "x = '''", "> again", "| a | a |", "A line that is long enough to be boilerplate.", "\r",
)  # fmt: skip
texts = st.lists(st.sampled_from(LINES) | st.text(max_size=20), max_size=40).map("\n".join)


def compressed(text: str, steps: Steps | None = None) -> str:
    return compress(text, len, steps or ALL).text


def saving_of(corpus: list[Pasted]) -> float:
    results = [compress(pasted.text, TOKENS, ALL) for pasted in corpus]
    return 1 - sum(result.tokens_after for result in results) / sum(result.tokens_before for result in results)


def test_a_mixed_corpus_shrinks_by_15_percent_at_least() -> None:
    assert saving_of(CORPUS) >= 0.15


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_so_does_one_of_another_seed(seed: int) -> None:
    assert saving_of(list(mixed_corpus(seed, texts_of_each_kind=4))) >= 0.15


def test_every_planted_fact_survives() -> None:
    assert sum(len(pasted.facts) for pasted in CORPUS) > 1_000
    lost = [fact for pasted in CORPUS for fact in pasted.facts if fact not in compressed(pasted.text)]
    assert not lost


def words_lost(steps: Steps) -> dict[str, float]:
    """By kind of text, the share of the distinct words that is gone; lines drawn with signs are no words."""
    shares = {}
    for kind in sorted({pasted.kind for pasted in CORPUS}):
        lost = there = 0
        for pasted in (each for each in CORPUS if each.kind == kind):
            words = {word for word in pasted.text.split() if "---" not in word}
            lost, there = lost + len(words - set(compressed(pasted.text, steps).split())), there + len(words)
        shares[kind] = lost / there
    return shares


def test_blanks_and_repeats_lose_no_word() -> None:
    assert set(words_lost(Steps(blanks=True, repeats=True)).values()) == {0}


def test_comments_lose_words_of_code_alone() -> None:
    lost = words_lost(ALL)
    assert 0.2 < lost.pop("code") < 0.5
    assert set(lost.values()) == {0}


@pytest.mark.parametrize("kind", sorted({pasted.kind for pasted in CORPUS}))
def test_every_kind_of_text_gains(kind: str) -> None:
    assert saving_of([pasted for pasted in CORPUS if pasted.kind == kind]) > 0.03


@given(texts)
def test_compressing_again_changes_nothing(text: str) -> None:
    once = compress(text, ESTIMATOR.count, ALL)
    assert compress(once.text, ESTIMATOR.count, ALL).text == once.text


@given(texts, st.builds(Steps, blanks=st.booleans(), repeats=st.booleans(), comments=st.booleans()))
def test_nothing_grows(text: str, steps: Steps) -> None:
    result = compress(text, TOKENS, steps)
    assert TOKENS(result.text) == result.tokens_after <= result.tokens_before == TOKENS(text)
    assert len(result.text) <= len(text)


@given(texts)
def test_switched_off_it_changes_nothing(text: str) -> None:
    assert compressed(text, NOTHING) == text


@given(st.lists(st.sampled_from([*SAMPLES.values(), " ", "\n", "a  b"]), max_size=30).map("\n".join))
def test_every_word_is_still_there(text: str) -> None:
    assert {word for word in text.split() if "---" not in word} <= set(compressed(text).split())


@pytest.mark.parametrize(
    ("text", "smaller"),
    [
        ("a  b \t c  \n\n\n\nd\r\n", "a b c\n\nd\n"),
        ("a\u00a0b\u200bc\ufeff", "a bc"),
        ("    code  stays\n", "    code  stays\n"),
        ("| a    | b  |\n|------|---:|", "| a | b |\n|---|---:|"),
        ("Contents ........ 7", "Contents ... 7"),
        ("https://example.org/a----b", "https://example.org/a----b"),
        ("👨‍👩‍👧‍👦 می‌خواهم", "👨‍👩‍👧‍👦 می‌خواهم"),
    ],
)
def test_blanks_and_lines_of_signs_become_short(text: str, smaller: str) -> None:
    assert compressed(text) == smaller


@pytest.mark.parametrize(
    ("text", "smaller"),
    [
        ("waiting for it\n" * 5 + "done", "waiting for it ×5\ndone"),
        ("yes\nyes", "yes\nyes"),
        ("Subscribe to the letter of the week!\n\nnews\n\nSubscribe to the letter of the week!\nend",
         "Subscribe to the letter of the week!\n\nnews\n\nend"),
        ("I shall be at the harbour at eight.\n> > I shall be at the harbour at eight.\n",
         "I shall be at the harbour at eight.\n"),
        ("short line\n\nother\n\nshort line", "short line\n\nother\n\nshort line"),
        ("| Ann Example, Newhaven | 12.00 |\n" * 2, "| Ann Example, Newhaven | 12.00 |\n" * 2),
        ("~~~\nthis line of code stands here twice\nthis line of code stands here twice\n~~~",
         "~~~\nthis line of code stands here twice\nthis line of code stands here twice\n~~~"),
    ],
)  # fmt: skip
def test_what_was_said_is_not_said_again(text: str, smaller: str) -> None:
    assert compressed(text) == smaller


def test_comments_go_out_of_closed_fences_only() -> None:
    block = "```python\n# why\nx = 1\n```"
    assert compressed(block) == "```python\nx = 1\n```"
    assert compressed(block[:-4]) == block[:-4]
    assert compressed("# why\nx = 1") == "# why\nx = 1"


def test_each_step_can_be_switched_off() -> None:
    text = "a  b\nsaid again and\nsaid again and\n```py\n# why\nx\n```"
    assert compressed(text, Steps(repeats=True, comments=True)) == "a  b\nsaid again and ×2\n```py\nx\n```"
    assert compressed(text, Steps(blanks=True, comments=True)) == "a b\nsaid again and\nsaid again and\n```py\nx\n```"
    assert compressed(text, Steps(blanks=True, repeats=True)) == "a b\nsaid again and ×2\n```py\n# why\nx\n```"


def test_the_saving_is_told_in_tokens() -> None:
    assert compress("a  b", len, ALL) == Compressed("a b", 4, 3)
    assert compress("", len, ALL) == Compressed("", 0, 0)


@pytest.mark.parametrize("run", [" ", "\n", "- ", ".", "`", "```\n", "> ", "\t", "\t \n", "|", "a\n", "\u00a0"])
def test_a_long_run_of_anything_takes_no_long_time(run: str) -> None:
    begin = perf_counter()
    compress(run * 100_000, ESTIMATOR.count, ALL)
    compress(run * 100_000 + "x", ESTIMATOR.count, ALL)
    compress("x" + run * 100_000 + "\fx", ESTIMATOR.count, ALL)
    # Half a second at the most; what is quadratic in them takes minutes.
    assert perf_counter() - begin < 20


def test_lines_that_come_to_stand_together_are_told_once() -> None:
    notice = "A notice that stands on every page"
    assert compressed(f"{notice}\nsame line\n{notice}\nsame line") == f"{notice}\nsame line ×2"


def test_a_text_whose_tokens_would_grow_stays_as_it_is() -> None:
    assert compress("a  b", lambda text: 10 - len(text), ALL) == Compressed("a  b", 6, 6)
