"""The shares in the database: what a process that ends, or dies, held of a limit is not given away too early."""

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.database import Database
from app.llm.traffic.limits import Demand, Unit
from app.llm.traffic.shared.share_book import Taken, Visit, take
from app.llm.traffic.shared.traffic_model import LLMShare, time_of
from tests.test_queries_explain import plans_of

LIMIT = 60
ME, OTHER, THIRD = "me", "other", "third"


async def visit(database: Database, process_id: str, used: int = 0, waiting: int = 0, **changes: bool) -> Taken:
    demand = Demand(LIMIT, used, waiting, min(1, waiting))
    said = Visit("openai", process_id, {Unit.REQUESTS: demand}, 15, 60, **changes)
    return await database.write(partial(take, visit=said))


async def held(database: Database, process_id: str, used: int = 0, waiting: int = 0, **changes: bool) -> int:
    return (await visit(database, process_id, used, waiting, **changes)).shares[Unit.REQUESTS]


async def silent_for(database: Database, process_id: str, seconds: float) -> None:
    """Its lease ended so long ago."""

    def write(session: Session) -> None:
        ended = time_of(session) - timedelta(seconds=seconds)
        session.execute(update(LLMShare).where(LLMShare.process_id == process_id).values(valid_until=ended))

    await database.write(write)


async def processes(database: Database) -> set[str]:
    return set(await database.read(lambda session: session.scalars(select(LLMShare.process_id)).all()))


async def test_what_a_dead_process_held_is_free_when_its_last_request_is_a_minute_old(database: Database) -> None:
    assert await held(database, OTHER, waiting=50) == 60
    assert await held(database, ME, waiting=5) == 0
    await silent_for(database, OTHER, 61)
    assert await held(database, ME, waiting=5) == 0
    await silent_for(database, OTHER, 62.1)
    assert await held(database, ME, waiting=5) == 5 + 12
    assert await processes(database) == {ME}


async def test_a_dead_process_keeps_nobody_waiting_for_its_turn(database: Database) -> None:
    assert await held(database, ME, used=55) == 60
    assert (await visit(database, OTHER, waiting=10)).is_contended is False
    assert (await visit(database, ME, used=55)).is_contended is True
    await silent_for(database, OTHER, 1)
    again = await visit(database, ME, used=55)
    assert (again.shares[Unit.REQUESTS], again.is_contended, again.processes) == (60, False, 1)


async def test_who_leaves_gives_back_at_once_what_it_did_not_use_and_a_minute_later_the_rest(
    database: Database,
) -> None:
    assert await held(database, OTHER, waiting=10) == 22
    assert await held(database, OTHER, used=10, waiting=3, is_leaving=True) == 10
    taken = await visit(database, ME, waiting=60)
    assert (taken.shares[Unit.REQUESTS], taken.is_contended, taken.processes) == (50, False, 1)
    await silent_for(database, OTHER, 62.1)
    assert await held(database, ME, used=50, waiting=10) == 60


async def test_who_uses_and_wants_nothing_has_no_row(database: Database) -> None:
    assert await held(database, ME, waiting=1) == 13
    assert await held(database, ME) == 0
    assert await processes(database) == set()
    assert await held(database, ME, is_leaving=True) == 0
    assert await processes(database) == set()


async def test_what_is_lowered_or_lifted_holds_for_the_next_visit(database: Database) -> None:
    assert await held(database, ME, waiting=10) == 22
    without = Visit("openai", ME, {}, 15, 60)
    assert (await database.write(partial(take, visit=without))).shares == {}
    assert await processes(database) == set()


@pytest.mark.parametrize("number", range(3))
async def test_those_who_came_first_get_their_part_whatever_the_order_in_which_the_processes_ask(
    database: Database, number: int
) -> None:
    ages = {ME: 30.0, OTHER: 20.0, THIRD: 10.0}
    order = [*ages][number:] + [*ages][:number]
    shares = {}
    for process_id in order * 2:
        demand = Demand(LIMIT, 0, 40, 1, ages[process_id], ages[process_id])
        said = Visit("openai", process_id, {Unit.REQUESTS: demand}, 15, 60)
        shares[process_id] = (await database.write(partial(take, visit=said))).shares[Unit.REQUESTS]
    assert shares == {ME: 40, OTHER: 19, THIRD: 1}


async def test_the_shares_of_a_provider_are_found_by_the_key(database: Database) -> None:
    said = Visit("openai", ME, {Unit.REQUESTS: Demand(LIMIT, 1)}, 15, 60)
    await database.write(partial(take, visit=said))

    def explain(session: Session) -> str:
        query = select(LLMShare).where(LLMShare.provider == "openai")
        return plans_of(session, lambda s: s.scalars(query).all())

    plans = await database.read(explain)
    assert "pk_llm_shares" in plans or "sqlite_autoindex_llm_shares_1" in plans
