"""The vocabulary over HTTP: names, colours, use, renaming, deleting, merging."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from httpx import AsyncClient

from tests.conftest import Json, code_of, create

Make = Callable[..., Awaitable[Json]]


async def make(client: AsyncClient, name: str, **body: object) -> Json:
    answer = await client.post("/tags", json={"name": name, **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def tagged(client: AsyncClient, *tags: Json, enrich: bool = False) -> Json:
    return await create(client, enrich=enrich, tagIds=[tag["id"] for tag in tags])


async def listed(client: AsyncClient, **params: str | int) -> list[str]:
    answer = await client.get("/tags", params=params)
    assert answer.status_code == 200, answer.text
    return [tag["name"] for tag in answer.json()["tags"]]


async def names_on(client: AsyncClient, item: Json) -> list[str]:
    return [tag["name"] for tag in (await client.get(f"/items/{item['id']}")).json()["tags"]]


async def test_a_new_tag_is_201_with_every_field(client: AsyncClient) -> None:
    tag = await make(client, "  Machine \t Learning ", color="#1E90ff")
    assert set(tag) == {"id", "name", "usageCount", "lastUsed", "createdAt", "color"}
    assert (tag["name"], tag["usageCount"], tag["lastUsed"], tag["color"]) == ("Machine Learning", 0, None, "#1E90ff")


async def test_an_existing_tag_is_200_in_any_case_and_stays_as_it_is(client: AsyncClient) -> None:
    tag = await make(client, "Größe", color="#111111")
    answer = await client.post("/tags", json={"name": "GRÖSSE", "color": "#222222"})
    assert answer.status_code == 200 and answer.json() == tag


async def test_a_deleted_tag_made_again_comes_back_onto_its_items(client: AsyncClient) -> None:
    tag = await make(client, "old", color="#111111")
    item = await tagged(client, tag)
    await client.delete(f"/tags/{tag['id']}")
    assert await names_on(client, item) == []
    back = await make(client, "Old")
    assert (back["id"], back["name"], back["color"], back["usageCount"]) == (tag["id"], "Old", None, 1)
    assert await names_on(client, item) == ["Old"]


async def test_a_deleted_tag_confirmed_on_another_item_does_not_come_back_onto_the_old_ones(
    client: AsyncClient, enriched: Make
) -> None:
    tag = await make(client, "old")
    item = await tagged(client, tag)
    await client.delete(f"/tags/{tag['id']}")
    await client.patch(f"/items/{(await enriched('old'))['id']}", json={"action": "confirm"})
    assert await listed(client) == ["old"] and await names_on(client, item) == []


async def test_the_list_is_sorted_by_name_use_or_last_use(client: AsyncClient) -> None:
    a, b, c = [await make(client, name) for name in ("a", "B", "c")]
    await tagged(client, b, c)
    await tagged(client, b)
    await tagged(client, c, enrich=True)
    await tagged(client, a)
    assert await listed(client) == await listed(client, sort="name") == ["a", "B", "c"]
    assert await listed(client, sort="usage") == ["B", "a", "c"]
    assert await listed(client, sort="lastUsed") == ["a", "B", "c"]


async def test_only_confirmed_items_count(client: AsyncClient, enriched: Make) -> None:
    tag = await make(client, "t")
    item = await enriched("u", tagIds=[tag["id"]])
    assert (await client.get("/tags")).json()["tags"][0]["usageCount"] == 0
    confirmed = (await client.patch(f"/items/{item['id']}", json={"action": "confirm"})).json()
    found = {entry["name"]: entry for entry in (await client.get("/tags")).json()["tags"]}
    assert {name: entry["usageCount"] for name, entry in found.items()} == {"t": 1, "u": 1}
    assert found["t"]["lastUsed"] == confirmed["confirmedAt"]


async def test_a_link_that_stays_keeps_its_time(client: AsyncClient) -> None:
    tag = await make(client, "t")
    item = await tagged(client, tag)
    before = (await client.get("/tags")).json()["tags"][0]["lastUsed"]
    await client.patch(f"/items/{item['id']}", json={"tags": ["t", "u"]})
    assert {t["name"]: t["lastUsed"] for t in (await client.get("/tags")).json()["tags"]}["t"] == before


async def test_unused_shows_only_what_no_confirmed_item_carries(client: AsyncClient) -> None:
    await tagged(client, await make(client, "used"))
    await make(client, "idle")
    assert await listed(client, unused="true") == ["idle"]
    assert await listed(client, unused="false") == ["idle", "used"]


@pytest.mark.parametrize(("q", "found"), [("%", ["100%"]), ("_", ["a_b"]), ("STRASS", ["Straße"]), ("zz", [])])
async def test_wildcards_in_q_are_plain_and_case_is_folded(client: AsyncClient, q: str, found: list[str]) -> None:
    for name in ("100%", "a_b", "Straße", "plain"):
        await make(client, name)
    assert await listed(client, q=q) == found


async def test_total_counts_beyond_the_limit(client: AsyncClient) -> None:
    for name in "abc":
        await make(client, name)
    body = (await client.get("/tags", params={"limit": 2})).json()
    assert [tag["name"] for tag in body["tags"]] == ["a", "b"] and body["total"] == 3


async def test_a_renamed_tag_shows_on_its_items_and_is_found_by_its_new_name(client: AsyncClient) -> None:
    tag = await make(client, "old")
    item = await tagged(client, tag)
    renamed = await client.patch(f"/tags/{tag['id']}", json={"name": "New"})
    assert renamed.status_code == 200 and renamed.json()["usageCount"] == 1
    assert await names_on(client, item) == ["New"]
    for q, total in (("#new", 1), ("#old", 0), ("new", 1), ("old", 0)):
        assert (await client.get("/search", params={"q": q})).json()["total"] == total


async def test_a_tag_can_change_its_case(client: AsyncClient) -> None:
    tag = await make(client, "api")
    assert (await client.patch(f"/tags/{tag['id']}", json={"name": "API"})).json()["name"] == "API"


async def test_a_name_that_is_taken_is_409(client: AsyncClient) -> None:
    tag, _ = await make(client, "a"), await make(client, "b")
    answer = await client.patch(f"/tags/{tag['id']}", json={"name": "B"})
    assert (answer.status_code, code_of(answer)) == (409, "TAG_EXISTS")


async def test_the_name_of_a_deleted_tag_is_free(client: AsyncClient) -> None:
    gone, tag = await make(client, "gone"), await make(client, "tag")
    await client.delete(f"/tags/{gone['id']}")
    assert (await client.patch(f"/tags/{tag['id']}", json={"name": "gone"})).status_code == 200
    assert (await client.delete(f"/tags/{gone['id']}")).status_code == 204
    assert await listed(client) == ["gone"]


async def test_a_colour_is_changed_taken_away_or_left(client: AsyncClient) -> None:
    path = f"/tags/{(await make(client, 't', color='#111111'))['id']}"
    assert (await client.patch(path, json={"color": "#222222"})).json()["color"] == "#222222"
    assert (await client.patch(path, json={"name": "u"})).json()["color"] == "#222222"
    assert (await client.patch(path, json={"color": None})).json()["color"] is None


@pytest.mark.parametrize("color", ["red", "#12345", "#1234567", "#12345g", "#123456\n", "", 7])
async def test_a_colour_of_another_form_is_422(client: AsyncClient, color: object) -> None:
    assert (await client.post("/tags", json={"name": "t", "color": color})).status_code == 422


@pytest.mark.parametrize(
    ("name", "status"), [("", 422), ("  ", 400), ("\u200b", 400), ("x" * 51, 422), ("x" * 50, 201), ("a\x00", 422)]
)
async def test_a_name_has_1_to_50_visible_characters(client: AsyncClient, name: str, status: int) -> None:
    answer = await client.post("/tags", json={"name": name})
    assert answer.status_code == status
    assert status == 201 or code_of(answer) == "VALIDATION_ERROR"


async def test_deleting_is_safe_to_repeat(client: AsyncClient) -> None:
    tag = await make(client, "t")
    answers = [await client.delete(f"/tags/{tag['id']}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [204, 204] and answers[0].content == b""
    assert await listed(client) == []
    assert (await client.patch(f"/tags/{tag['id']}", json={"name": "u"})).status_code == 404


async def test_a_merge_puts_the_target_in_the_place_of_the_sources(client: AsyncClient) -> None:
    a, b, c = [await make(client, name) for name in "abc"]
    both, one, other = await tagged(client, a, b), await tagged(client, b), await tagged(client, c)
    answer = await client.post("/tags/merge", json={"sourceTagIds": [a["id"], b["id"]], "targetTagId": c["id"]})
    assert answer.status_code == 200 and answer.json()["id"] == c["id"] and answer.json()["usageCount"] == 3
    assert [await names_on(client, item) for item in (both, one, other)] == [["c"]] * 3
    assert await listed(client) == ["c"]


async def test_a_merge_of_tags_that_stand_on_one_item_leaves_one_link(client: AsyncClient) -> None:
    a, b = await make(client, "a"), await make(client, "b")
    item = await tagged(client, a, b)
    await client.post("/tags/merge", json={"sourceTagIds": [a["id"]], "targetTagId": b["id"]})
    assert await names_on(client, item) == ["b"]


async def test_a_merge_is_safe_to_repeat(client: AsyncClient) -> None:
    a, b = await make(client, "a"), await make(client, "b")
    body = {"sourceTagIds": [a["id"], a["id"]], "targetTagId": b["id"]}
    answers = [await client.post("/tags/merge", json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_a_merge_needs_tags_of_the_person_and_another_target(client: AsyncClient) -> None:
    a, b = await make(client, "a"), await make(client, "b")
    await client.delete(f"/tags/{b['id']}")
    for sources, target in (([a], a), ([a], b), ([{"id": "unknown"}], a), ([a], {"id": "unknown"})):
        body = {"sourceTagIds": [source["id"] for source in sources], "targetTagId": target["id"]}
        answer = await client.post("/tags/merge", json=body)
        assert (answer.status_code, code_of(answer)) == (400, "VALIDATION_ERROR")
    assert await listed(client) == ["a"]


async def test_what_changes_an_items_tags_is_in_its_history(client: AsyncClient) -> None:
    a, b = await make(client, "a"), await make(client, "b")
    item = await tagged(client, a)
    await client.post("/tags/merge", json={"sourceTagIds": [a["id"]], "targetTagId": b["id"]})
    await client.patch(f"/tags/{b['id']}", json={"name": "c"})
    await client.delete(f"/tags/{b['id']}")
    events = (await client.get(f"/items/{item['id']}/history")).json()["events"]
    assert [event["changes"]["tags"] for event in events[1:]] == [
        {"from": ["a"], "to": ["b"]},
        {"from": ["b"], "to": ["c"]},
        {"from": ["c"], "to": []},
    ]


async def test_one_name_made_by_many_at_once_is_one_tag(client: AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/tags", json={"name": "same"}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_no_item_loses_its_tag_to_a_merge_in_a_race(client: AsyncClient, enriched: Make) -> None:
    a, b = await make(client, "a"), await make(client, "b")
    items = [await enriched("x", tagIds=[a["id"]]) for _ in range(6)]
    merge = client.post("/tags/merge", json={"sourceTagIds": [a["id"]], "targetTagId": b["id"]})
    confirms = [client.patch(f"/items/{item['id']}", json={"action": "confirm"}) for item in items]
    answers = await asyncio.gather(*confirms[:3], merge, *confirms[3:])
    assert {answer.status_code for answer in answers} == {200}
    assert [await names_on(client, item) for item in items] == [["b", "x"]] * 6


async def test_opposite_merges_at_once_leave_one_tag(client: AsyncClient) -> None:
    a, b = await make(client, "a"), await make(client, "b")
    item = await tagged(client, a, b)
    bodies = [{"sourceTagIds": [source["id"]], "targetTagId": target["id"]} for source, target in ((a, b), (b, a))]
    answers = await asyncio.gather(*(client.post("/tags/merge", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    assert len(await names_on(client, item)) == 1
