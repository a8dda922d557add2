"""Who holds how much of a limit: never more than it together, the oldest first, and nobody starves."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm.traffic.shared.allotment import Stake, allot

LIMIT = 60


def test_who_is_alone_takes_what_it_needs_and_some_in_reserve() -> None:
    assert allot(LIMIT, Stake(0, 0, 1, 1), []) == 1 + 12
    assert allot(LIMIT, Stake(13, 13, 30, 1), []) == 43 + 12
    assert allot(LIMIT, Stake(43, 43, 100, 1), []) == LIMIT


def test_what_is_used_stays_whatever_others_want() -> None:
    assert allot(LIMIT, Stake(60, 60, name="me"), [Stake(0, 0, 60, 1)]) == 60


def test_what_nobody_uses_any_more_is_given_back_while_others_wait() -> None:
    assert allot(LIMIT, Stake(60, 10, name="me"), [Stake(0, 0, 100, 1)]) == 10


def test_what_others_hold_cannot_be_taken() -> None:
    assert allot(LIMIT, Stake(0, 0, 60, 1, name="me"), [Stake(50, 5)]) == 10


def test_the_last_free_one_goes_to_who_has_waited_longest() -> None:
    old, new = Stake(29, 29, 5, 1, 9, 8, "old"), Stake(30, 30, 5, 1, 5, 1, "new")
    assert (allot(LIMIT, old, [new]), allot(LIMIT, new, [old])) == (30, 30)


def test_a_large_one_that_came_first_gets_all_that_is_free() -> None:
    large, small = Stake(10, 10, 50, 50, 9, 9, "large"), Stake(30, 30, 5, 1, 5, 1, "small")
    assert (allot(LIMIT, large, [small]), allot(LIMIT, small, [large])) == (30, 30)


def together(*stakes: Stake) -> list[int]:
    return [allot(LIMIT, mine, [other for other in stakes if other is not mine]) for mine in stakes]


def test_those_who_came_together_are_served_evenly() -> None:
    assert together(*(Stake(0, 0, 100, 1, 9, 9, name) for name in "abc")) == [20, 20, 20]


def test_beyond_the_first_of_each_those_who_came_earlier_are_served_before_the_others() -> None:
    early, late = Stake(0, 0, 40, 1, 60, 50, "early"), Stake(0, 0, 40, 1, 30, 0, "late")
    assert together(late, early) == [20, 40]


def test_of_two_queues_that_grew_evenly_the_older_parts_are_served() -> None:
    long, short = Stake(0, 0, 80, 1, 80, 0, "long"), Stake(0, 0, 40, 1, 40, 0, "short")
    shares = together(long, short)
    assert sum(shares) == LIMIT
    assert shares == [pytest.approx(50, abs=3), pytest.approx(10, abs=3)]


STAKES = st.builds(
    lambda used, spare, head, more, waited: Stake(used + spare, used, head + more, head, waited, waited / 2),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 30),
    st.integers(0, 60),
    st.integers(0, 3),
)


@given(st.integers(1, 200), STAKES, st.lists(STAKES, max_size=5))
def test_together_they_never_hold_more_than_the_limit_but_for_what_is_used(
    limit: int, mine: Stake, others: list[Stake]
) -> None:
    share = allot(limit, replace(mine, name="me"), others)
    assert share >= mine.used
    assert share == mine.used or share + sum(other.share for other in others) <= limit


@given(st.integers(1, 50), st.lists(STAKES, min_size=1, max_size=5))
def test_where_there_is_room_somebody_who_waits_gets_it(limit: int, stakes: list[Stake]) -> None:
    """Each gives back what it does not use; then one of them can go on."""
    given_back = [replace(stake, share=stake.used, name=str(place)) for place, stake in enumerate(stakes)]
    room = limit - sum(stake.used for stake in given_back)
    waiting = sorted(
        (stake for stake in given_back if stake.head), key=lambda stake: (-stake.waited_seconds, stake.name)
    )
    if room > 0 and waiting:
        first = waiting[0]
        share = allot(limit, first, [stake for stake in given_back if stake is not first])
        assert share - first.used >= min(first.head, room)
