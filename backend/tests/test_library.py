"""The library and search: order, pages, words and tags."""

import pytest
from httpx import AsyncClient

from tests.conftest import Json, create


async def manual(client: AsyncClient, text: str, *tags: str) -> Json:
    ids = [(await client.post("/tags", json={"name": tag})).json()["id"] for tag in tags]
    return await create(client, text, enrich=False, tagIds=ids)


async def found(client: AsyncClient, q: str, path: str = "/search") -> list[str]:
    answer = await client.get(path, params={"q": q})
    assert answer.status_code == 200, answer.text
    return sorted(item["rawText"] for item in answer.json()["items"])


async def every_page(client: AsyncClient, path: str, limit: int) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        params: dict[str, str | int] = {"limit": limit, "q": ""}
        if cursor:
            params["cursor"] = cursor
        body = (await client.get(path, params=params)).json()
        pages.append([item["rawText"] for item in body["items"]])
        cursor = body["pagination"]["cursor"]
        assert body["pagination"]["hasMore"] is (cursor is not None)
        if cursor is None:
            return pages


@pytest.mark.parametrize("path", ["/library", "/search"])
async def test_pages_show_everything_once_newest_first(client: AsyncClient, path: str) -> None:
    for n in range(5):
        await manual(client, str(n))
    assert await every_page(client, path, 2) == [["4", "3"], ["2", "1"], ["0"]]
    assert await every_page(client, path, 5) == [["4", "3", "2", "1", "0"]]


async def test_a_page_goes_on_where_it_was_when_newer_items_come(client: AsyncClient) -> None:
    for n in range(3):
        await manual(client, str(n))
    cursor = (await client.get("/library?limit=2")).json()["pagination"]["cursor"]
    await manual(client, "new")
    assert [item["rawText"] for item in (await client.get(f"/library?cursor={cursor}")).json()["items"]] == ["0"]


async def test_an_empty_library_is_an_empty_page(client: AsyncClient) -> None:
    assert (await client.get("/library")).json() == {"items": [], "pagination": {"cursor": None, "hasMore": False}}


async def test_the_library_is_narrowed_by_words_and_tag(client: AsyncClient) -> None:
    await manual(client, "one apple", "fruit")
    await manual(client, "two apples", "Fruit", "food")
    await manual(client, "three pears", "fruit")
    answer = await client.get("/library", params={"q": "APPLE", "tag": " FRUIT "})
    assert sorted(item["rawText"] for item in answer.json()["items"]) == ["one apple", "two apples"]


async def test_a_search_for_a_tag_finds_that_tag_alone(client: AsyncClient) -> None:
    await manual(client, "tagged", "Machine Learning")
    await manual(client, "machine learning in the text")
    await manual(client, "longer", "machine learning ops")
    body = (await client.get("/search", params={"q": " # machine  LEARNING "})).json()
    assert [item["rawText"] for item in body["items"]] == ["tagged"]
    assert body["mode"] == "tag_only" and body["total"] == 1


async def test_a_combined_search_looks_into_title_summary_text_and_tags(client: AsyncClient) -> None:
    expected = []
    for field in ("title", "summary", "originalText"):
        item = await manual(client, f"by {field}")
        text = f"by {field} needle"
        await client.patch(f"/items/{item['id']}", json={field: text})
        expected.append(text if field == "originalText" else f"by {field}")
    await manual(client, "by tag", "needlework")
    await manual(client, "hay")
    assert await found(client, "NEEDLE") == sorted([*expected, "by tag"])


@pytest.mark.parametrize(
    ("text", "q"),
    [
        ("100% sure", "0%"),
        ("snake_case", "e_c"),
        ("back\\slash", "\\"),
        ("a/b", "/"),
        ("Straße", "STRASSE"),
        ("ÄRGER", "ärger"),
        ("ﬁsh", "FISH"),
        ("日本語のメモ", "本語"),
        ("with 🦉 owl", "🦉"),
        ("İstanbul", "i\u0307stanbul"),
        ("e\u0301clair", "ÉCLAIR"),
    ],
)
async def test_a_word_is_found_whatever_its_case_and_form(client: AsyncClient, text: str, q: str) -> None:
    await manual(client, text)
    await manual(client, "something else")
    assert await found(client, q) == await found(client, q, "/library") == [text]


@pytest.mark.parametrize("q", ["%", "_", "*", "' OR 1=1 --"])
async def test_a_wildcard_is_a_plain_character(client: AsyncClient, q: str) -> None:
    await manual(client, "plain")
    assert await found(client, q) == []


async def test_total_counts_all_pages(client: AsyncClient) -> None:
    for n in range(3):
        await manual(client, f"word {n}")
    body = (await client.get("/search", params={"q": "word", "limit": 1})).json()
    assert body["total"] == 3 and body["mode"] == "combined" and len(body["items"]) == 1


async def test_only_confirmed_items_are_found(client: AsyncClient) -> None:
    await create(client, "needle")
    assert await found(client, "needle") == []


async def test_what_was_unconfirmed_is_found_no_more(client: AsyncClient) -> None:
    item = await manual(client, "needle")
    await client.patch(f"/items/{item['id']}", json={"action": "discard"})
    assert await found(client, "needle") == []
