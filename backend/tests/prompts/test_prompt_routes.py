"""The routes of prompts: what a change makes, what is in use after it, and what is refused."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from app.clock import local_seconds
from app.main import create_app
from app.prompts.registry import PromptRegistry
from tests.conftest import API, Json, code_of, make_settings

PROMPTS = "/llm/prompts"
TEMPLATE: Json = {
    "id": "greeting",
    "category": "example",
    "description": "Greets.",
    "variables": {"tone": {"type": "enum", "values": ["warm", "cool"]}, "name": {"type": "string"}},
    "system": [{"message": "base"}, {"text": "Greet in a {{ tone }} tone."}],
    "user": "Greet {{ name }}.",
    "model": {"maxOutputTokens": 50},
    "cases": [{"name": "warm", "variables": {"tone": "warm", "name": "Ann"}, "stubAnswer": "Hello"}],
}
VALUES = {"tone": "warm", "name": "Ann"}


@pytest.fixture
def registry(app: Any) -> PromptRegistry:
    found: PromptRegistry = app.state.prompts
    return found


async def make(client: AsyncClient, **changes: Any) -> Json:
    answer = await client.post(PROMPTS, json={**TEMPLATE, **changes})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def change(client: AsyncClient, prompt_id: str = "greeting", **changes: Any) -> Json:
    body = {name: value for name, value in {**TEMPLATE, **changes}.items() if name != "id"}
    answer = await client.put(f"{PROMPTS}/{prompt_id}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def act(client: AsyncClient, action: str, version: int | None, prompt_id: str = "greeting") -> Json:
    answer = await client.post(f"{PROMPTS}/{prompt_id}/{action}", json={"version": version})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def shipped_template(client: AsyncClient, prompt_id: str) -> Json:
    shown = (await client.get(f"{PROMPTS}/{prompt_id}")).json()
    about = {name: shown[name] for name in ("category", "description", "cases")}
    return {**shown["template"], **about}


async def test_what_ships_is_there_after_the_start(client: AsyncClient) -> None:
    answer = (await client.get(PROMPTS)).json()
    assert [prompt["id"] for prompt in answer["prompts"]][:3] == [
        "character_background",
        "enrichment",
        "equipment_suggestions",
    ]
    assert all(prompt["shippedVersion"] == prompt["currentVersion"] == 1 for prompt in answer["prompts"])


async def test_the_list_goes_by_pages_and_by_category(client: AsyncClient) -> None:
    first = (await client.get(PROMPTS, params={"category": "example", "limit": 2})).json()
    cursor = first["pagination"]["cursor"]
    second = (await client.get(PROMPTS, params={"category": "example", "cursor": cursor})).json()
    assert [len(first["prompts"]), len(second["prompts"])] == [2, 1]
    assert {prompt["category"] for page in (first, second) for prompt in page["prompts"]} == {"example"}
    assert second["pagination"] == {"cursor": None, "hasMore": False}


async def test_a_new_prompt_can_be_called_at_once(client: AsyncClient, registry: PromptRegistry) -> None:
    made = await make(client)
    assert (made["currentVersion"], made["shippedVersion"], made["template"]["model"]) == (
        1,
        None,
        {**made["template"]["model"], "maxOutputTokens": 50},
    )
    system, user = registry.get("greeting").render("openai", VALUES)
    assert system["content"].endswith("Greet in a warm tone.") and user["content"] == "Greet Ann."
    assert made["systemMessages"]["base"] and made["cases"][0]["stubAnswer"] == "Hello"


async def test_what_was_read_can_be_sent_back_and_is_the_same_version(client: AsyncClient) -> None:
    await make(client)
    body = await shipped_template(client, "greeting")
    answer = await client.put(f"{PROMPTS}/greeting", json=body)
    assert (answer.status_code, answer.json()["latestVersion"]) == (200, 1)


async def test_every_change_makes_a_version(client: AsyncClient, registry: PromptRegistry) -> None:
    await make(client)
    await change(client, user="Say hello to {{ name }}.")
    changed = await change(client, user="Hail {{ name }}.")
    assert (changed["currentVersion"], changed["latestVersion"]) == (3, 3)
    assert registry.get("greeting").label == "greeting/3"
    assert registry.get("greeting", 2).render("openai", VALUES)[1]["content"] == "Say hello to Ann."
    listed = (await client.get(f"{PROMPTS}/greeting/versions", params={"limit": 2})).json()
    rest = await client.get(f"{PROMPTS}/greeting/versions", params={"cursor": listed["pagination"]["cursor"]})
    assert [version["version"] for version in [*listed["versions"], *rest.json()["versions"]]] == [3, 2, 1]
    assert [version["isCurrent"] for version in listed["versions"]] == [True, False]


async def test_the_same_content_again_is_the_same_version(client: AsyncClient) -> None:
    await make(client)
    await change(client, user="Hail {{ name }}.")
    back = await change(client, description="Said otherwise, sent the same.")
    assert (back["currentVersion"], back["latestVersion"]) == (1, 2)
    assert back["description"] == "Said otherwise, sent the same."


async def test_a_version_is_shown_with_its_template(client: AsyncClient) -> None:
    await make(client)
    await change(client, user="Hail {{ name }}.")
    shown = (await client.get(f"{PROMPTS}/greeting/versions/1")).json()
    assert shown["template"]["user"] == "Greet {{ name }}." and shown["label"] == "greeting/1"
    assert shown["authorId"] is not None


async def test_a_pinned_version_stays_in_use(client: AsyncClient, registry: PromptRegistry) -> None:
    await make(client)
    await act(client, "pin", 1)
    changed = await change(client, user="Hail {{ name }}.")
    assert (changed["currentVersion"], changed["latestVersion"], changed["isPinned"]) == (1, 2, True)
    assert registry.get("greeting").version == 1
    assert (await act(client, "pin", None))["currentVersion"] == 2
    assert registry.get("greeting").version == 2


async def test_a_misspelt_version_takes_no_pin_away(client: AsyncClient) -> None:
    await make(client)
    await act(client, "pin", 1)
    answer = await client.post(f"{PROMPTS}/greeting/pin", json={"verison": 1})
    assert answer.status_code == 422
    assert (await client.get(f"{PROMPTS}/greeting")).json()["isPinned"]


async def test_an_old_version_is_restored(client: AsyncClient, registry: PromptRegistry) -> None:
    await make(client)
    await change(client, user="Hail {{ name }}.")
    restored = await act(client, "restore", 1)
    assert (restored["currentVersion"], restored["latestVersion"]) == (1, 2)
    assert registry.get("greeting").version == 1


async def test_two_versions_are_compared(client: AsyncClient) -> None:
    await make(client)
    await change(
        client,
        user="Hail {{ name }}.",
        document="none",
        variables={**TEMPLATE["variables"], "x": {"type": "list", "default": []}},
    )
    answer = await client.get(f"{PROMPTS}/greeting/diff", params={"from": 1, "to": 2})
    found = answer.json()
    assert found["changes"] == [
        {"path": "body.user", "kind": "changed"},
        {"path": "body.variables.x", "kind": "added"},
    ]
    assert "-  user: Greet {{ name }}." in found["unified"] and "+  user: Hail {{ name }}." in found["unified"]
    same = (await client.get(f"{PROMPTS}/greeting/diff", params={"from": 1, "to": 1})).json()
    assert (same["changes"], same["unified"]) == ([], "")


async def test_a_deleted_prompt_is_gone_until_it_is_restored(client: AsyncClient, registry: PromptRegistry) -> None:
    await make(client)
    assert (await client.delete(f"{PROMPTS}/greeting")).status_code == 204
    assert len(registry) == 7
    for path in ("", "/versions", "/versions/1", "/diff?from=1&to=1"):
        assert (await client.get(f"{PROMPTS}/greeting{path}")).status_code == 404
    assert (await client.delete(f"{PROMPTS}/greeting")).status_code == 404
    again = await client.post(PROMPTS, json=TEMPLATE)
    assert (again.status_code, code_of(again)) == (409, "NAME_TAKEN") and "restore" in again.text
    assert (await act(client, "restore", None))["currentVersion"] == 1
    assert registry.get("greeting").version == 1


async def test_a_prompt_that_ships_is_overridden_and_restored_but_not_deleted(
    client: AsyncClient, registry: PromptRegistry
) -> None:
    template = await shipped_template(client, "image_prompt")
    template["system"][1] = {"text": "You draw."}
    answer = await client.put(f"{PROMPTS}/image_prompt", json=template)
    assert (answer.status_code, answer.json()["isOverridden"]) == (200, True)
    assert "You draw." in registry.get("image_prompt").render("openai", {}, "A boat.")[0]["content"]
    refused = await client.delete(f"{PROMPTS}/image_prompt")
    assert (refused.status_code, refused.json()["error"]["details"]["rule"]) == (400, "shipped")
    restored = await act(client, "restore", None, "image_prompt")
    assert (restored["currentVersion"], restored["isOverridden"]) == (1, False)


async def test_nothing_to_restore_is_said(client: AsyncClient) -> None:
    await make(client)
    answer = await client.post(f"{PROMPTS}/greeting/restore", json={})
    assert (answer.status_code, code_of(answer)) == (400, "VALIDATION_ERROR")


async def test_an_id_that_is_taken_is_409(client: AsyncClient) -> None:
    await make(client)
    assert code_of(await client.post(PROMPTS, json=TEMPLATE)) == "NAME_TAKEN"
    assert (await client.post(PROMPTS, json={**TEMPLATE, "id": "query"})).status_code == 409


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("PUT", "/nothing"),
        ("DELETE", "/nothing"),
        ("GET", "/nothing/versions"),
        ("GET", "/query/versions/99"),
        ("GET", "/query/diff?from=1&to=99"),
        ("POST", "/nothing/pin"),
        ("POST", "/query/pin"),
        ("POST", "/query/restore"),
    ],
)
async def test_what_is_not_there_is_404(client: AsyncClient, method: str, path: str) -> None:
    body = {name: value for name, value in TEMPLATE.items() if name != "id"} if method == "PUT" else {"version": 99}
    answer = await client.request(method, PROMPTS + path, json=body if method in ("PUT", "POST") else None)
    assert (answer.status_code, code_of(answer)) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("changes", "field", "line"),
    [
        ({"user": "Greet {{ name }}.\n{{ ''.__class__.__mro__[1].__subclasses__() }}"}, "user", 2),
        ({"user": "{{ self.__init__.__globals__ }}"}, "user", 1),
        ({"user": "{{ lipsum.__globals__['os'].popen('id') }}"}, "user", 1),
        ({"user": "{{ name|attr('__class__') }}"}, "user", 1),
        ({"user": "{{ name['__class__'] }}"}, "user", 1),
        ({"user": "{% set name = 1 %}"}, "user", 1),
        ({"user": "{% macro m() %}{% endmacro %}"}, "user", 1),
        ({"user": "{% import 'os' as os %}"}, "user", 1),
        ({"user": "{% extends 'base' %}"}, "user", 1),
        ({"user": "{{ name.format(name) }}"}, "user", 1),
        ({"user": "{{ '%s' % name }}"}, "user", 1),
        ({"user": "{{ range(10**9) }}"}, "user", 1),
        ({"system": [{"message": "base"}, {"text": "\n\n{{ name }}"}]}, "system.1.text", 3),
        ({"system": [{"message": "unheard"}]}, "system.0.message", None),
        ({"variants": {"local": {"user": "{{ unknown }}"}}}, "variants.local.user", 1),
        ({"environments": {"production": {"user": "{{"}}}, "environments.production.user", 1),
        ({"document": "required"}, "system", None),
        ({"cases": [{"name": "x", "variables": {"tone": "warm"}}]}, "cases.0.variables.name", None),
    ],
)
async def test_a_template_that_breaks_a_rule_is_422_naming_part_and_line(
    client: AsyncClient, changes: Json, field: str, line: int | None
) -> None:
    answer = await client.post(PROMPTS, json={**TEMPLATE, **changes})
    assert (answer.status_code, code_of(answer)) == (422, "VALIDATION_ERROR"), answer.text
    error = answer.json()["error"]
    assert (error["details"]["errors"][0]["field"], error["details"]["errors"][0]["line"]) == (field, line)
    assert field in error["message"]
    assert (await client.get(f"{PROMPTS}/greeting")).status_code == 404


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "Greeting"}, "id"),
        ({"unknown": 1}, "unknown"),
        ({"variables": {"a": {"type": "text"}}}, "variables.a.type"),
        ({"system": []}, "system"),
        ({"model": {"temperature": 3}}, "model.temperature"),
    ],
)
async def test_a_template_of_another_form_is_422_naming_the_field(
    client: AsyncClient, changes: Json, field: str
) -> None:
    answer = await client.post(PROMPTS, json={**TEMPLATE, **changes})
    assert answer.status_code == 422
    assert answer.json()["error"]["details"]["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"variables": {"a": {"type": "string", "default": "\ud800"}}}, "variables.a.default"),
        ({"variables": {"a": {"type": "list", "default": ["\ud800"]}}}, "variables.a.default"),
        ({"cases": [{"name": "x", "variables": {"name": "\ud800"}}]}, "cases.0.variables.name"),
    ],
)
async def test_half_a_surrogate_pair_is_422_naming_the_field(client: AsyncClient, changes: Json, field: str) -> None:
    body = json.dumps({**TEMPLATE, **changes})  # by hand: the client itself would refuse it
    answer = await client.post(PROMPTS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]["details"]["errors"][0]["field"] == field


async def test_a_large_template_holds_nobody_up(client: AsyncClient) -> None:
    pieces = [{"text": "{% if 1 == " + str(place) + " %}a{% endif %}"} for place in range(20)]
    large = {**TEMPLATE, "system": [{"text": piece["text"] * 250} for piece in pieces]}
    began, longest = local_seconds(), 0.0
    making = asyncio.create_task(client.post(PROMPTS, json=large))
    while not making.done():
        asked = local_seconds()
        await client.get(f"{PROMPTS}/nope")
        longest = max(longest, local_seconds() - asked)
    assert (await making).status_code == 201
    assert longest < (local_seconds() - began) / 2


async def test_what_its_callers_could_not_use_does_not_replace_what_ships(client: AsyncClient) -> None:
    template = await shipped_template(client, "enrichment")
    del template["variables"]["tags_min"]
    template["system"], template["variants"], template["cases"] = [{"message": "data"}], {}, []
    answer = await client.put(f"{PROMPTS}/enrichment", json=template)
    assert answer.status_code == 422 and "tags_min must be declared" in answer.text


@pytest.mark.parametrize("role", ["user", "operator"])
async def test_operators_read_and_only_admins_change(database_url: str, tmp_path: Path, role: str) -> None:
    app = create_app(make_settings(database_url, tmp_path, dev_role=role))
    transport = ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=transport, base_url=f"http://t{API}", headers={"X-Dev-User-Id": "a"}) as client,
    ):
        reads = [await client.get(PROMPTS + path) for path in ("", "/query", "/query/versions", "/query/versions/1")]
        changes = [
            await client.post(PROMPTS, json=TEMPLATE),
            await client.put(f"{PROMPTS}/query", json=TEMPLATE),
            await client.delete(f"{PROMPTS}/query"),
            await client.post(f"{PROMPTS}/query/pin", json={}),
            await client.post(f"{PROMPTS}/query/restore", json={}),
        ]
    assert {answer.status_code for answer in reads} == {200 if role == "operator" else 403}
    assert {answer.status_code for answer in changes} == {403}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": {"task": "nothing"}}, "model.task"),
        ({"environments": {"development": {"model": {"task": "nothing"}}}}, "environments.development.model.task"),
    ],
)
async def test_a_task_without_rules_is_refused_by_its_field(client: AsyncClient, changes: Json, field: str) -> None:
    await make(client)
    body = {name: value for name, value in TEMPLATE.items() if name != "id"}
    for answer in (
        await client.post(PROMPTS, json={**TEMPLATE, "id": "other", **changes}),
        await client.put(f"{PROMPTS}/greeting", json={**body, **changes}),
    ):
        assert (answer.status_code, code_of(answer)) == (422, "VALIDATION_ERROR")
        assert [error["field"] for error in answer.json()["error"]["details"]["errors"]] == [field]


async def test_a_prompt_may_name_its_models(client: AsyncClient) -> None:
    await make(client, model={"models": ["stub/other"]})
    asked = {"promptId": "greeting", "variables": VALUES}
    answer = await client.post("/llm/query/stream", json=asked)
    assert '"model":"stub/other"' in answer.text and '"reason":"hint of the prompt"' in answer.text
