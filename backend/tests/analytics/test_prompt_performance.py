"""Acceptance by version of a prompt: what people did with the proposals, counted from what they really sent."""

from collections.abc import Awaitable, Callable

import pytest
from httpx import AsyncClient

from tests.conftest import AsUser, Json, SetColumns

PATH = "/llm/prompts/enrichment/performance"
Make = Callable[..., Awaitable[Json]]


@pytest.fixture
def proposed(enriched: Make, set_columns: SetColumns) -> Make:
    """An item with a proposal of this version."""

    async def make(label: str = "enrichment/1") -> Json:
        item = await enriched()
        await set_columns(item["id"], enrichment={"provider": "stub", "model": "stub", "promptVersion": label})
        return item

    return make


async def decide(client: AsyncClient, item: Json, **patch: object) -> None:
    answer = await client.patch(f"/items/{item['id']}", json=patch)
    assert answer.status_code == 200, answer.text


async def acceptance(client: AsyncClient) -> Json:
    """Of the first version, without its calls."""
    found = dict((await client.get(PATH)).json()["versions"][-1])
    del found["calls"]
    return found


async def test_without_decisions_there_is_no_rate(client: AsyncClient, proposed: Make) -> None:
    await proposed()
    found = await acceptance(client)
    assert (found["labels"], found["waiting"], found["unchangedRate"], found["discardedRate"]) == (0, 1, None, None)


async def test_each_decision_is_counted_once(client: AsyncClient, proposed: Make) -> None:
    for _ in range(2):
        await decide(client, await proposed(), action="confirm")
    await decide(client, await proposed(), action="confirm", title="Another title")
    await decide(client, await proposed(), action="discard")
    assert await acceptance(client) == {
        "version": 1,
        "label": "enrichment/1",
        "labels": 4,
        "confirmedUnchanged": 2,
        "edited": 1,
        "discarded": 1,
        "waiting": 0,
        "unchangedRate": 0.5,
        "discardedRate": 0.25,
    }


async def test_an_edit_before_the_confirmation_counts(client: AsyncClient, proposed: Make) -> None:
    item = await proposed()
    await decide(client, item, summary="Another summary")
    await decide(client, item, action="confirm")
    assert (await acceptance(client))["edited"] == 1


async def test_a_rejected_tag_is_an_edit(client: AsyncClient, proposed: Make) -> None:
    item = await proposed()
    await decide(client, item, action="confirm", rejectedSuggestionIds=[item["suggestedTags"][0]["id"]])
    assert (await acceptance(client))["edited"] == 1


async def test_a_tag_added_beside_the_proposed_ones_is_none(client: AsyncClient, proposed: Make) -> None:
    tag = (await client.post("/tags", json={"name": "own"})).json()
    await decide(client, await proposed(), action="confirm", addedTagIds=[tag["id"]])
    assert (await acceptance(client))["confirmedUnchanged"] == 1


async def test_another_version_and_another_prompt_count_for_themselves(client: AsyncClient, proposed: Make) -> None:
    for label in ("enrichment/2", "enrichment_two/1", "query/1"):
        await decide(client, await proposed(label), action="confirm")
    assert (await acceptance(client))["labels"] == 0
    assert (await client.get("/llm/prompts/query/performance")).json()["versions"][0]["labels"] == 1


async def test_everybodys_decisions_count(client: AsyncClient, as_user: AsUser, proposed: Make) -> None:
    await decide(client, await proposed(), action="confirm")
    assert (await as_user("b").get(PATH)).json()["versions"][0]["labels"] == 1


async def test_a_prompt_that_is_not_there_is_404(client: AsyncClient) -> None:
    assert (await client.get("/llm/prompts/nothing/performance")).status_code == 404
