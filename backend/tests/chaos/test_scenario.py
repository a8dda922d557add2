"""The plan of a run is the same for the same seed, and strikes only what there is."""

import pytest

from tests.chaos.scenario import Blow, Engine, plan_blows, scenario

DATABASE = {Blow.DATABASE_FAST, Blow.DATABASE_IMMEDIATE}


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_seed_gives_the_same_blows_again(engine: Engine) -> None:
    first, second = (plan_blows(scenario(engine, "stub", seconds=60, seed=7)) for _ in range(2))
    assert first == second != plan_blows(scenario(engine, "stub", seconds=60, seed=8))


def test_blows_fall_within_the_run_and_on_servers_that_exist() -> None:
    chosen = scenario("postgresql", "stub", seconds=300, seed=7)
    blows = plan_blows(chosen)
    assert all(0 < planned.at_seconds < chosen.seconds for planned in blows)
    assert {planned.server for planned in blows} == {None, 0, 1, 2}
    assert {planned.blow for planned in blows} == set(Blow)


def test_sqlite_has_no_database_to_restart() -> None:
    blows = plan_blows(scenario("sqlite", "stub", seconds=300, seed=7))
    assert not {planned.blow for planned in blows} & DATABASE
