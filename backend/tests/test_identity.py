"""Who is calling: one row for one person, however their first requests arrive."""

import asyncio

import pytest
from httpx import AsyncClient
from sqlalchemy import func, select

from app.accounts.identity import Identity
from app.accounts.user_model import User
from app.database import Database
from app.errors import Unauthorized
from tests.conftest import AsUser


async def count_users(database: Database) -> int:
    return await database.read(lambda session: session.scalar(select(func.count()).select_from(User))) or 0


async def test_first_requests_at_once_make_one_user(client: AsyncClient) -> None:
    answers = await asyncio.gather(*(client.get("/auth/me") for _ in range(10)))
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_first_sights_in_several_processes_make_one_user(database: Database) -> None:
    processes = [Identity(database, dev_auth=True) for _ in range(8)]
    ids = await asyncio.gather(*(process.user_id_of("a") for process in processes))
    assert len(set(ids)) == 1 and await count_users(database) == 1


async def test_names_are_told_apart_to_the_letter(database: Database) -> None:
    identity = Identity(database, dev_auth=True)
    assert len({await identity.user_id_of(name) for name in ("a", "A", "a ", "á")}) == 4


async def test_the_same_name_from_another_issuer_is_another_person(database: Database) -> None:
    identity = Identity(database, dev_auth=True)
    assert await identity.user_id_of("a") != await identity.user_id_for("https://login.example.org", "a")


@pytest.mark.parametrize("dev_id", [None, "", "x" * 65, "a\nb", "\x00"])
async def test_who_cannot_be_known_is_refused_and_leaves_no_row(database: Database, dev_id: str | None) -> None:
    with pytest.raises(Unauthorized):
        await Identity(database, dev_auth=True).user_id_of(dev_id)
    assert await count_users(database) == 0


async def test_the_development_header_is_refused_where_it_is_off(database: Database) -> None:
    with pytest.raises(Unauthorized):
        await Identity(database, dev_auth=False).user_id_of("a")


async def test_many_persons_are_remembered_without_end_of_memory(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.accounts.identity._MAX_KNOWN", 2)
    identity = Identity(database, dev_auth=True)
    first = {name: await identity.user_id_of(name) for name in "abcde"}
    assert len(identity._known) <= 2
    assert {name: await identity.user_id_of(name) for name in "abcde"} == first


async def test_two_persons_see_their_own(as_user: AsUser) -> None:
    ids = [(await as_user(name).get("/auth/me")).json()["id"] for name in ("a", "b", "a")]
    assert ids[0] == ids[2] != ids[1]
