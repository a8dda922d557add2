"""A person's profile and preferences over HTTP."""

from typing import Any

import pytest
from httpx import AsyncClient

from tests.conftest import AsUser, code_of

FIELDS = {
    *("id", "email", "displayName", "nickname", "avatarUrl", "bio", "preferences", "plan", "createdAt", "updatedAt"),
}


async def test_a_new_person_has_every_field_and_the_defaults(client: AsyncClient) -> None:
    me = (await client.get("/auth/me")).json()
    assert set(me) == FIELDS and me["plan"] == "free" and me["email"] is None
    assert me["preferences"] == {
        "defaultLanguage": "en",
        "timezone": "UTC",
        "aiSuggestionsEnabled": True,
        "defaultPrivacy": "any",
    }
    assert me["createdAt"].endswith("Z")


async def test_the_profile_is_changed_field_by_field(client: AsyncClient) -> None:
    await client.patch("/auth/me/profile", json={"nickname": " Nick ", "bio": "b"})
    answer = await client.patch(
        "/auth/me/profile", json={"displayName": "Dora 🦉", "avatarUrl": "https://example.org/a.png", "bio": None}
    )
    me = answer.json()
    assert answer.status_code == 200 and me == (await client.get("/auth/me")).json()
    assert (me["displayName"], me["nickname"], me["bio"]) == ("Dora 🦉", "Nick", None)
    assert me["updatedAt"] > me["createdAt"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("defaultLanguage", "pt-BR"),
        ("defaultLanguage", "zh-Hant-TW"),
        ("defaultLanguage", "de-CH-1996"),
        ("timezone", "Europe/Berlin"),
        ("timezone", "America/Argentina/Buenos_Aires"),
        ("aiSuggestionsEnabled", False),
        ("defaultPrivacy", "local_only"),
        ("defaultPrivacy", "none"),
    ],
)
async def test_a_preference_is_stored_and_the_others_stay(client: AsyncClient, field: str, value: object) -> None:
    before = (await client.get("/auth/me")).json()["preferences"]
    answer = await client.patch("/auth/me/preferences", json={field: value})
    assert answer.status_code == 200 and answer.json()["preferences"] == before | {field: value}


@pytest.mark.parametrize(
    ("part", "body"),
    [
        ("preferences", {"timezone": "Mars/Olympus"}),
        ("preferences", {"timezone": "../etc/passwd"}),
        ("preferences", {"timezone": ""}),
        ("preferences", {"defaultLanguage": "english please"}),
        ("preferences", {"defaultLanguage": "e"}),
        ("preferences", {"defaultLanguage": "en\n"}),
        ("preferences", {"aiSuggestionsEnabled": "yes"}),
        ("preferences", {"defaultPrivacy": "secret"}),
        ("profile", {"avatarUrl": "javascript:alert(1)"}),
        ("profile", {"avatarUrl": "ftp://example.org/a"}),
        ("profile", {"avatarUrl": "https://"}),
        ("profile", {"avatarUrl": "https://user:secret@example.org/"}),
        ("profile", {"avatarUrl": "https://example.org:99999/"}),
        ("profile", {"avatarUrl": "https://[bad/"}),
        ("profile", {"avatarUrl": "https://example.org/" + "x" * 2000}),
        ("profile", {"nickname": "x" * 51}),
        ("profile", {"displayName": "x" * 101}),
        ("profile", {"bio": "x" * 501}),
        ("profile", {"bio": "a\x00b"}),
        ("profile", {"nickname": 7}),
    ],
)
async def test_what_cannot_be_used_is_422_and_changes_nothing(
    client: AsyncClient, part: str, body: dict[str, Any]
) -> None:
    before = (await client.get("/auth/me")).json()
    answer = await client.patch(f"/auth/me/{part}", json=body)
    assert (answer.status_code, code_of(answer)) == (422, "VALIDATION_ERROR")
    assert (await client.get("/auth/me")).json() == before


@pytest.mark.parametrize("blank", ["", " ", None])
async def test_a_blank_address_takes_the_avatar_away(client: AsyncClient, blank: str | None) -> None:
    await client.patch("/auth/me/profile", json={"avatarUrl": "https://example.org/a.png"})
    answer = await client.patch("/auth/me/profile", json={"avatarUrl": blank})
    assert answer.status_code == 200 and answer.json()["avatarUrl"] is None


async def test_a_wrong_language_is_refused_in_plain_words(client: AsyncClient) -> None:
    answer = await client.patch("/auth/me/preferences", json={"defaultLanguage": "english please"})
    assert "must be a language tag like de or pt-BR" in answer.json()["error"]["message"]


async def test_a_change_of_nothing_leaves_the_time(client: AsyncClient) -> None:
    before = (await client.get("/auth/me")).json()
    assert (await client.patch("/auth/me/preferences", json={"timezone": "UTC"})).json() == before


async def test_fields_that_are_not_the_persons_to_set_are_ignored(client: AsyncClient) -> None:
    before = (await client.get("/auth/me")).json()
    answer = await client.patch("/auth/me/profile", json={"plan": "gold", "id": "x", "email": "e@example.org"})
    assert answer.json() == before


async def test_two_persons_have_two_profiles(as_user: AsUser) -> None:
    await as_user("a").patch("/auth/me/profile", json={"nickname": "A"})
    other = (await as_user("b").get("/auth/me")).json()
    assert other["nickname"] is None
