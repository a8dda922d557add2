"""Cuts fall where a reader would make them, and never inside what a person sees as one character."""

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from app.context.boundaries import cut_after, cut_before, trimmed, whole_after, whole_before

CLUSTERS = [
    "e\u0301",
    "👨‍👩‍👧‍👦",
    "🇩🇪",
    "🇫🇷",
    "👍🏽",
    "\r\n",
    "각",
    "한",
    "❤️",
    "नि",
    "a",
    " ",
    ".",
    "字",
    "\u0600",
    "\u0301",
]
texts = st.lists(st.sampled_from(CLUSTERS) | st.characters(), max_size=60).map("".join)


@pytest.mark.parametrize(
    ("text", "latest", "kept"),
    [
        ("One is here. Two is here.\n\nThree i", 29, "One is here. Two is here.\n\n"),
        ("One is here. Two is he", 15, "One is here. "),
        ("One sentence that does not come to an end", 20, "One sentence that "),
        ("这一句话就写在这里。第二句也在这里了", 12, "这一句话就写在这里。"),
        ("Onewordwithoutanyendatall", 9, "Onewordwi"),
        ("He said “Stop it now!” She", 24, "He said “Stop it now!” "),
        ("The end.", 80, "The end."),
        ("👨‍👩‍👧‍👦👨‍👩‍👧‍👦", 9, "👨‍👩‍👧‍👦"),
    ],
)
def test_a_piece_ends_at_the_best_place_that_is_near(text: str, latest: int, kept: str) -> None:
    assert text[: cut_before(text, 0, latest)] == kept


@pytest.mark.parametrize(
    ("text", "earliest", "kept"),
    [
        ("First part.\n\nSecond part. It is here.", 12, "Second part. It is here."),
        ("First part. Second part is this one here", 10, "Second part is this one here"),
        ("First part, second part, no end of all", 8, "second part, no end of all"),
        ("Onewordwithoutanyendatall", 9, "thoutanyendatall"),
        ("🇩🇪🇫🇷🇩🇪🇫🇷", 3, "🇩🇪🇫🇷"),
        ("All of it.", 0, "All of it."),
    ],
)
def test_a_piece_begins_at_the_best_place_that_is_near(text: str, earliest: int, kept: str) -> None:
    assert text[cut_after(text, earliest, len(text)) :] == kept


@given(texts, st.data())
def test_no_cut_is_inside_a_character(text: str, data: st.DataObject) -> None:
    places = st.integers(0, len(text))
    start, end = sorted((data.draw(places), data.draw(places)))
    starts = {match.start() for match in regex.finditer(r"\X", text)} | {len(text)}
    start, end = whole_after(text, start), whole_before(text, end)
    if start <= end:
        cuts = {start, end, cut_before(text, start, end), cut_after(text, start, end), *trimmed(text, (start, end))}
        assert cuts <= starts
        assert all(start <= cut <= end for cut in cuts - {cut_before(text, start, end)}) or start == end


@given(texts, st.integers(-3, 200))
def test_the_nearest_whole_places_enclose_any_place(text: str, place: int) -> None:
    inside = min(max(place, 0), len(text))
    assert whole_before(text, place) <= inside <= whole_after(text, place)


def test_halves_of_a_pair_stay_together() -> None:
    assert whole_before("a\ud83d\ude00b", 2) == 1
    assert whole_after("a\ud83d\ude00b", 2) == 3
