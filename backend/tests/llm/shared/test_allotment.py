"""Who holds how much of a limit: never more than it together, the oldest first, and nobody starves."""

from hypothesis import given
from hypothesis import strategies as st

from app.llm.traffic.shared.allotment import Stake, allot

LIMIT = 60


def test_who_is_alone_takes_what_it_needs_and_some_in_reserve() -> None:
    assert allot(LIMIT, Stake(0, 0, 1, 1), []) == 1 + 12
    assert allot(LIMIT, Stake(13, 13, 30, 1), []) == 43 + 12
    assert allot(LIMIT, Stake(43, 43, 100, 1), []) == LIMIT


def test_what_is_used_stays_whatever_others_want() -> None:
    assert allot(LIMIT, Stake(60, 60), [Stake(0, 0, 60, 1)]) == 60


def test_what_nobody_uses_any_more_is_given_back_while_others_wait() -> None:
    assert allot(LIMIT, Stake(60, 10), [Stake(0, 0, 100, 1)]) == 10


def test_what_others_hold_cannot_be_taken() -> None:
    assert allot(LIMIT, Stake(0, 0, 60, 1), [Stake(50, 5)]) == 10


def test_the_last_free_one_goes_to_who_has_waited_longest() -> None:
    old, new = Stake(29, 29, 5, 1, (1,)), Stake(30, 30, 5, 1, (2,))
    assert (allot(LIMIT, old, [new]), allot(LIMIT, new, [old])) == (30, 30)


def test_a_large_one_that_came_first_gets_all_that_is_free() -> None:
    large, small = Stake(10, 10, 50, 50, (1,)), Stake(30, 30, 5, 1, (2,))
    assert (allot(LIMIT, large, [small]), allot(LIMIT, small, [large])) == (30, 30)


def test_what_is_free_beyond_the_first_of_each_is_split_evenly() -> None:
    stakes = [Stake(0, 0, 100, 1, (number,)) for number in range(3)]
    assert [allot(LIMIT, mine, [other for other in stakes if other is not mine]) for mine in stakes] == [20, 20, 20]


STAKES = st.builds(
    lambda used, spare, head, more, rank: Stake(used + spare, used, head + more, head, (rank,)),
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
    share = allot(limit, mine, others)
    assert share >= mine.used
    assert share == mine.used or share + sum(other.share for other in others) <= limit


@given(st.integers(1, 50), st.lists(STAKES, min_size=1, max_size=5))
def test_where_there_is_room_somebody_who_waits_gets_it(limit: int, stakes: list[Stake]) -> None:
    """Each gives back what it does not use; then one of them can go on."""
    given_back = [Stake(stake.used, stake.used, stake.waiting, stake.head, stake.rank) for stake in stakes]
    room = limit - sum(stake.used for stake in given_back)
    waiting = sorted((stake for stake in given_back if stake.waiting), key=lambda stake: stake.rank)
    if room > 0 and waiting:
        first = waiting[0]
        share = allot(limit, first, [stake for stake in given_back if stake is not first])
        assert share - first.used >= min(max(first.head, 1), room) or first.head == 0
