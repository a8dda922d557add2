"""The privacy of an item over HTTP: said, by default, changed; what no model may see is kept from the queue."""

from collections.abc import Awaitable, Callable

import pytest
from httpx import AsyncClient
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.database import Database
from tests.conftest import AsUser, Json, SetColumns, code_of, create

Make = Callable[..., Awaitable[Json]]
KINDS = ["any", "local_only", "none"]


async def prefer(client: AsyncClient, privacy: str) -> None:
    answer = await client.patch("/auth/me/preferences", json={"defaultPrivacy": privacy})
    assert answer.status_code == 200


async def test_a_text_may_be_shown_to_any_model_where_nobody_said_otherwise(client: AsyncClient) -> None:
    assert (await create(client))["privacy"] == "any"


@pytest.mark.parametrize("privacy", KINDS)
async def test_an_item_has_the_privacy_that_was_asked_for(client: AsyncClient, privacy: str) -> None:
    await prefer(client, "local_only")
    item = await create(client, privacy=privacy)
    assert item["privacy"] == privacy
    assert (await client.get(f"/items/{item['id']}")).json() == item


@pytest.mark.parametrize("body", [{}, {"privacy": None}, {"enrich": True}, {"enrich": False}])
@pytest.mark.parametrize("privacy", KINDS)
async def test_else_the_person_s_default_holds(client: AsyncClient, privacy: str, body: Json) -> None:
    await prefer(client, privacy)
    assert (await create(client, **body))["privacy"] == privacy


async def test_the_default_of_one_person_is_not_another_s(as_user: AsUser) -> None:
    await prefer(as_user("b"), "none")
    assert (await create(as_user("a")))["privacy"] == "any"


async def test_items_keep_theirs_when_the_default_changes(client: AsyncClient) -> None:
    item = await create(client)
    await prefer(client, "none")
    assert (await client.get(f"/items/{item['id']}")).json()["privacy"] == "any"


@pytest.mark.parametrize("body", [{}, {"enrich": True}])
async def test_what_no_model_may_see_is_saved_as_without_enrichment(client: AsyncClient, body: Json) -> None:
    item = await create(client, "A secret.", privacy="none", **body)
    assert (item["status"], item["enrichmentMode"], item["title"]) == ("ARCHIVED", "MANUAL", "A secret.")
    assert item["enrichment"] is None


async def test_so_it_is_by_default(client: AsyncClient) -> None:
    await prefer(client, "none")
    assert (await create(client, enrich=True))["status"] == "ARCHIVED"
    assert (await create(client, privacy="local_only"))["status"] == "ENRICHING"


async def test_suggestions_that_are_off_stay_off_for_private_texts(client: AsyncClient) -> None:
    await client.patch("/auth/me/preferences", json={"aiSuggestionsEnabled": False})
    assert (await create(client, privacy="local_only"))["status"] == "ARCHIVED"


async def test_a_change_of_privacy_is_in_the_history(client: AsyncClient, failed: Make) -> None:
    item = await failed()
    changed = (await client.patch(f"/items/{item['id']}", json={"privacy": "local_only"})).json()
    assert changed["privacy"] == "local_only" and changed["updatedAt"] > item["updatedAt"]
    events = (await client.get(f"/items/{item['id']}/history")).json()["events"]
    assert events[-1]["changes"] == {"privacy": {"from": "any", "to": "local_only"}}


@pytest.mark.parametrize("body", [{"privacy": None}, {"privacy": "any"}])
async def test_no_change_is_none(client: AsyncClient, failed: Make, body: Json) -> None:
    item = await failed()
    assert (await client.patch(f"/items/{item['id']}", json=body)).json() == item


async def test_it_can_be_changed_with_the_confirmation(client: AsyncClient, enriched: Make) -> None:
    item = await enriched()
    answer = await client.patch(f"/items/{item['id']}", json={"action": "confirm", "privacy": "none"})
    assert (answer.json()["status"], answer.json()["privacy"]) == ("ARCHIVED", "none")


async def test_it_cannot_be_changed_while_a_model_is_at_it(client: AsyncClient) -> None:
    item = await create(client)
    answer = await client.patch(f"/items/{item['id']}", json={"privacy": "none"})
    assert (answer.status_code, code_of(answer)) == (409, "INVALID_STATE_TRANSITION")
    assert (await client.get(f"/items/{item['id']}")).json()["privacy"] == "any"


async def test_what_no_model_may_see_cannot_be_retried_until_one_may(client: AsyncClient, failed: Make) -> None:
    url = f"/items/{(await failed())['id']}"
    await client.patch(url, json={"privacy": "none"})
    answer = await client.post(f"{url}/retry")
    assert (answer.status_code, code_of(answer)) == (409, "INVALID_STATE_TRANSITION")
    assert "retry" not in answer.json()["error"]["details"]["allowedActions"]
    bulk = await client.post("/items/bulk", json={"action": "retry", "ids": [url.rsplit("/", 1)[-1]]})
    assert bulk.json()["results"][0]["error"]["code"] == "INVALID_STATE_TRANSITION"
    assert (await client.get(url)).json()["status"] == "FAILED"
    await client.patch(url, json={"privacy": "local_only"})
    assert (await client.post(f"{url}/retry")).json()["status"] == "ENRICHING"


async def test_who_saw_it_is_unknown_where_there_are_no_books_of_it_any_more(enriched: Make) -> None:
    assert (await enriched())["enrichment"]["seenBy"] is None


@pytest.mark.parametrize("value", ["secret", "", "ANY", 1, True, ["any"]])
async def test_a_word_that_is_no_privacy_is_422_and_names_the_field(
    client: AsyncClient, failed: Make, value: object
) -> None:
    answers = [
        await client.post("/items", json={"rawText": "x", "privacy": value}),
        await client.patch(f"/items/{(await failed())['id']}", json={"privacy": value}),
    ]
    for answer in answers:
        assert answer.status_code == 422
        assert "privacy" in str(answer.json()["error"]["details"]["errors"][0]["field"])


async def test_the_privacy_belongs_to_an_idempotent_request(client: AsyncClient) -> None:
    async def post(privacy: str) -> int:
        body = {"rawText": "x", "privacy": privacy}
        return (await client.post("/items", json=body, headers={"Idempotency-Key": "k"})).status_code

    assert [await post("local_only"), await post("local_only"), await post("any")] == [201, 201, 409]


async def test_an_item_that_failed_for_its_privacy_says_so(client: AsyncClient, set_columns: SetColumns) -> None:
    item = await create(client, privacy="local_only")
    error = "LLM_PRIVATE_TEXT: The text is private, and no model of the plan may see it."
    await set_columns(item["id"], status="FAILED", enrichment_error=error)
    shown = (await client.get(f"/items/{item['id']}")).json()["enrichmentError"]
    assert (shown["code"], shown["retryable"]) == ("LLM_PRIVATE_TEXT", False)
    assert "privacy" in shown["nextStep"]


@pytest.mark.parametrize(("table", "column"), [("items", "privacy"), ("users", "default_privacy")])
async def test_the_database_takes_no_other_word(
    client: AsyncClient, database: Database, table: str, column: str
) -> None:
    await create(client)
    with pytest.raises(IntegrityError):
        await database.write(lambda s: s.execute(text(f"UPDATE {table} SET {column} = 'secret'")))  # noqa: S608
