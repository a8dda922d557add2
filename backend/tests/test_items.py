"""Items over HTTP: capture, confirm, discard, edit, retry, unconfirm, and the fields that clients rely on."""

import re
from collections.abc import Awaitable, Callable

import pytest
from httpx import AsyncClient
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.conftest import AsUser, Json, code_of, create

Make = Callable[..., Awaitable[Json]]
FIELDS = {
    *("id", "rawText", "status", "title", "summary", "tags", "suggestedTags", "sourceType", "enrichmentMode"),
    *(
        "privacy",
        "enrichmentError",
        "enrichment",
        "waiting",
        "createdAt",
        "updatedAt",
        "confirmedAt",
        "attachmentCount",
        "attachments",
    ),
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def names(item: Json) -> list[str]:
    return [tag["name"] for tag in item["tags"]]


def statuses(item: Json) -> dict[str, str]:
    return {tag["name"]: tag["status"] for tag in item["suggestedTags"]}


def id_of(item: Json, name: str) -> str:
    return next(str(tag["id"]) for tag in item["suggestedTags"] if tag["name"] == name)


async def patch(client: AsyncClient, item: Json, **body: object) -> Json:
    answer = await client.patch(f"/items/{item['id']}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_new_item_is_being_enriched(client: AsyncClient) -> None:
    item = await create(client, "  a note \n")
    assert item["rawText"] == "a note" and item["status"] == "ENRICHING" and item["enrichmentMode"] == "AI"
    assert item["title"] is item["summary"] is item["sourceType"] is item["enrichment"] is item["confirmedAt"] is None


async def test_an_item_has_every_field_and_no_other(client: AsyncClient) -> None:
    assert set(await create(client)) == FIELDS


async def test_times_are_utc_with_z(client: AsyncClient) -> None:
    item = await create(client, enrich=False)
    assert all(TIME.fullmatch(item[field]) for field in ("createdAt", "updatedAt", "confirmedAt"))


async def test_ids_sort_by_time(client: AsyncClient) -> None:
    made = [(await create(client))["id"] for _ in range(5)]
    assert made == sorted(made)


async def test_without_enrichment_the_item_is_archived_under_its_first_line(client: AsyncClient) -> None:
    item = await create(client, "\n\n  " + "x" * 70 + " \nmore", enrich=False)
    assert (item["status"], item["enrichmentMode"], item["sourceType"]) == ("ARCHIVED", "MANUAL", "NOTE")
    assert item["title"] == "x" * 60 and item["confirmedAt"] is not None


async def test_the_title_of_a_manual_item_is_its_first_visible_line(client: AsyncClient) -> None:
    assert (await create(client, "\u200b\nHello", enrich=False))["title"] == "Hello"


async def test_a_new_item_carries_the_tags_that_it_names(client: AsyncClient) -> None:
    tag = (await client.post("/tags", json={"name": "Mine", "color": "#112233"})).json()
    item = await create(client, tagIds=[tag["id"], tag["id"]])
    assert item["tags"] == [{"id": tag["id"], "name": "Mine", "color": "#112233"}]


async def test_who_switched_suggestions_off_captures_without_a_model(client: AsyncClient) -> None:
    await client.patch("/auth/me/preferences", json={"aiSuggestionsEnabled": False})
    assert (await create(client))["status"] == "ARCHIVED"
    assert (await create(client, enrich=True))["status"] == "ENRICHING"


async def test_pending_shows_what_waits_newest_first(client: AsyncClient, enriched: Make, failed: Make) -> None:
    expected = [(await make())["id"] for make in (enriched, failed)] + [(await create(client))["id"]]
    await create(client, enrich=False)
    body = (await client.get("/items/pending")).json()
    assert [item["id"] for item in body["items"]] == expected[::-1]
    assert body["total"] == 3 and set(body) == {"items", "total"}


async def test_pending_counts_beyond_its_limit(client: AsyncClient) -> None:
    for _ in range(3):
        await create(client)
    body = (await client.get("/items/pending?limit=2")).json()
    assert len(body["items"]) == 2 and body["total"] == 3


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', '"other" , W/{}', "*"])
async def test_an_unchanged_pending_list_is_304(client: AsyncClient, form: str) -> None:
    await create(client)
    etag = (await client.get("/items/pending")).headers["ETag"]
    again = await client.get("/items/pending", headers={"If-None-Match": form.format(etag)})
    assert again.status_code == 304 and again.headers["ETag"] == etag and again.content == b""


async def test_a_changed_pending_list_is_sent_again(client: AsyncClient) -> None:
    etag = (await client.get("/items/pending")).headers["ETag"]
    await create(client)
    again = await client.get("/items/pending", headers={"If-None-Match": etag})
    assert again.status_code == 200 and again.headers["ETag"] != etag


async def test_confirming_archives_with_the_proposed_tags(client: AsyncClient, enriched: Make) -> None:
    item = await patch(client, await enriched(), action="confirm")
    assert item["status"] == "ARCHIVED" and item["confirmedAt"] is not None
    assert names(item) == ["python", "testing"]
    assert statuses(item) == {"python": "ACCEPTED", "testing": "ACCEPTED"}


async def test_the_final_set_is_tags_and_accepted_and_added_without_rejected(
    client: AsyncClient, enriched: Make
) -> None:
    item = await enriched("one", "two", "three")
    added = (await client.post("/tags", json={"name": "Added"})).json()
    item = await patch(
        client,
        item,
        action="confirm",
        tags=["mine", "THREE"],
        acceptedSuggestionIds=[id_of(item, "one")],
        rejectedSuggestionIds=[id_of(item, "three")],
        addedTagIds=[added["id"]],
    )
    assert names(item) == ["Added", "mine", "one"]
    assert statuses(item) == {"one": "ACCEPTED", "two": "REJECTED", "three": "REJECTED"}


async def test_tags_that_differ_only_in_case_are_one_and_the_known_spelling_wins(
    client: AsyncClient, enriched: Make
) -> None:
    await client.post("/tags", json={"name": "PyThOn"})
    item = await patch(client, await enriched(), action="confirm", tags=["python", "PYTHON"])
    assert names(item) == ["PyThOn"]


@pytest.mark.parametrize(("given", "sought"), [("Straße", "STRASSE"), ("ÄÖ", "äö"), ("ﬁsh", "fish"), ("日本", "日本")])
async def test_case_is_folded_as_unicode_does(client: AsyncClient, given: str, sought: str) -> None:
    await client.post("/tags", json={"name": given})
    assert (await client.post("/tags", json={"name": sought})).status_code == 200


async def test_a_proposal_takes_the_spelling_that_the_person_gives(client: AsyncClient, enriched: Make) -> None:
    item = await patch(client, await enriched(), tags=["PYTHON"])
    assert names(item) == ["PYTHON"] and statuses(item) == {"PYTHON": "ACCEPTED", "testing": "REJECTED"}
    assert names(await patch(client, item, action="confirm")) == ["PYTHON"]


async def test_the_vocabularys_spelling_wins_over_the_given_one(client: AsyncClient, enriched: Make) -> None:
    await client.post("/tags", json={"name": "Python"})
    item = await patch(client, await enriched(), tags=["PYTHON"])
    assert names(item) == ["Python"]
    assert names(await patch(client, item, action="confirm", tags=["PYTHON"])) == ["Python"]


async def test_a_known_suggestion_says_so(client: AsyncClient, enriched: Make) -> None:
    await client.post("/tags", json={"name": "Python"})
    item = await enriched()
    assert {tag["name"]: tag["known"] for tag in item["suggestedTags"]} == {"python": True, "testing": False}
    assert all(tag["confidence"] is None for tag in item["suggestedTags"])


async def test_an_edit_keeps_the_state_and_sets_the_fields(client: AsyncClient, enriched: Make) -> None:
    item = await patch(client, await enriched(), title="  New ", summary="", originalText="Other")
    assert (item["status"], item["title"], item["summary"], item["rawText"]) == (
        *("READY_TO_CONFIRM", "New"),
        *(None, "Other"),
    )


async def test_rejecting_takes_a_proposal_off_and_accepting_brings_it_back(client: AsyncClient, enriched: Make) -> None:
    item = await enriched()
    item = await patch(client, item, rejectedSuggestionIds=[id_of(item, "python")])
    assert names(item) == ["testing"] and statuses(item)["python"] == "REJECTED"
    item = await patch(client, item, acceptedSuggestionIds=[id_of(item, "python")])
    assert names(item) == ["python", "testing"]


async def test_an_empty_edit_changes_nothing(client: AsyncClient, enriched: Make) -> None:
    item = await enriched()
    assert await patch(client, item) == item


async def test_a_proposal_enters_the_vocabulary_only_when_confirmed(client: AsyncClient, enriched: Make) -> None:
    item = await enriched("fresh")
    await patch(client, item, tags=["fresh"])
    assert (await client.get("/tags")).json()["tags"] == []
    await patch(client, item, action="confirm")
    assert [tag["name"] for tag in (await client.get("/tags")).json()["tags"]] == ["fresh"]


async def test_discarding_takes_the_item_out_of_every_list(client: AsyncClient) -> None:
    for item in (await create(client), await create(client, enrich=False)):
        assert (await patch(client, item, action="discard"))["status"] == "DISCARDED"
    for path in ("/items/pending", "/library", "/search?q=Some"):
        assert (await client.get(path)).json()["items"] == []


async def test_discarding_ends_the_lease(client: AsyncClient, enriched: Make, set_columns: Make) -> None:
    item = await create(client)
    await patch(client, item, action="discard")
    answer = await client.patch(f"/items/{item['id']}", json={"action": "discard"})
    assert answer.status_code == 409


async def test_a_failed_item_says_what_to_do(client: AsyncClient, failed: Make) -> None:
    error = (await failed())["enrichmentError"]
    assert error["code"] == "LLM_TIMEOUT" and error["message"] and error["nextStep"] and error["retryable"] is True
    assert error["details"]["family"] == "LLM_TIMEOUT"


async def test_retry_enriches_once_more(client: AsyncClient, failed: Make) -> None:
    item = await failed()
    answer = await client.post(f"/items/{item['id']}/retry")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ENRICHING" and answer.json()["enrichmentError"] is None


async def test_a_failed_item_is_confirmed_when_a_title_is_given(client: AsyncClient, failed: Make) -> None:
    item = await failed()
    refused = await client.patch(f"/items/{item['id']}", json={"action": "confirm"})
    assert (refused.status_code, code_of(refused)) == (400, "VALIDATION_ERROR")
    item = await patch(client, item, action="confirm", title="Mine")
    assert item["status"] == "ARCHIVED" and item["enrichmentError"] is None


async def test_unconfirm_brings_the_suggestions_back(client: AsyncClient, enriched: Make) -> None:
    before = await enriched()
    item = await patch(client, before, action="confirm", tags=["python", "own"])
    item = (await client.post(f"/items/{item['id']}/unconfirm")).json()
    assert item["status"] == "READY_TO_CONFIRM" and item["confirmedAt"] is None
    assert statuses(item) == {"python": "PENDING", "testing": "REJECTED"}
    assert names(item) == ["own", "python"]


async def test_unconfirm_after_a_rename_shows_the_tag_once(client: AsyncClient, enriched: Make) -> None:
    item = await patch(client, await enriched("python"), action="confirm")
    await client.patch(f"/tags/{item['tags'][0]['id']}", json={"name": "snake"})
    item = (await client.post(f"/items/{item['id']}/unconfirm")).json()
    assert names(item) == ["snake"]


async def test_what_was_captured_by_hand_cannot_be_unconfirmed(client: AsyncClient) -> None:
    item = await create(client, enrich=False)
    answer = await client.post(f"/items/{item['id']}/unconfirm")
    assert answer.status_code == 409
    assert answer.json()["error"]["details"] == {
        "currentState": "ARCHIVED",
        "attemptedAction": "unconfirm",
        "allowedActions": ["discard", "edit"],
    }


async def test_bulk_changes_each_item_on_its_own(client: AsyncClient, enriched: Make) -> None:
    ready, waiting = await enriched(), await create(client)
    answer = await client.post(
        "/items/bulk", json={"action": "confirm", "ids": [waiting["id"], "unknown", ready["id"], ready["id"]]}
    )
    first, second, third = answer.json()["results"]
    assert answer.status_code == 200
    assert first.keys() == {"id", "error"} and first["error"]["code"] == "INVALID_STATE_TRANSITION"
    assert second["error"]["code"] == "NOT_FOUND"
    assert third == {"id": ready["id"], "status": "ARCHIVED"}


async def test_bulk_takes_500_ids(client: AsyncClient) -> None:
    ids = [(await create(client))["id"], *(f"unknown-{n}" for n in range(499))]
    answer = await client.post("/items/bulk", json={"action": "discard", "ids": ids})
    assert len(answer.json()["results"]) == 500
    assert (await client.post("/items/bulk", json={"action": "discard", "ids": [*ids, "one"]})).status_code == 422


async def test_history_tells_what_changed_and_by_whom(client: AsyncClient, enriched: Make) -> None:
    item = await patch(client, await enriched(), originalText="Other", title="T")
    item = await patch(client, item, action="confirm")
    events = (await client.get(f"/items/{item['id']}/history")).json()["events"]
    assert [(event["action"], event["actor"], event["fromStatus"], event["status"]) for event in events] == [
        ("create", "person", None, "ENRICHING"),
        ("edit", "person", "READY_TO_CONFIRM", "READY_TO_CONFIRM"),
        ("confirm", "person", "READY_TO_CONFIRM", "ARCHIVED"),
    ]
    assert events[1]["changes"]["rawText"] == {"from": "Some text", "to": "Other"}


async def test_the_number_of_statements_does_not_grow_with_the_items(
    client: AsyncClient, enriched: Make, as_user: AsUser
) -> None:
    counts = []
    for wanted in (1, 6):
        while (await client.get("/items/pending")).json()["total"] < wanted:
            await enriched(f"tag {wanted}")
        counts.append(await count_statements(client, "/items/pending"))
    assert counts[0] == counts[1] > 0


async def count_statements(client: AsyncClient, path: str) -> int:
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert (await client.get(path)).status_code == 200
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return len([statement for statement in seen if statement.startswith("SELECT")])
