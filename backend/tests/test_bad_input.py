"""What people and programs send by mistake or on purpose: each gets a clear 4xx, nothing is stored, nothing breaks."""

import base64
from typing import Any

import pytest
from httpx import AsyncClient

from tests.conftest import code_of, create

JSON = {"Content-Type": "application/json"}
DEEP = b'{"rawText": ' + b"[" * 300_000 + b"]" * 300_000 + b"}"


async def count(client: AsyncClient) -> int:
    return int((await client.get("/items/pending")).json()["total"])


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 422),
        (" \n\t ", 400),
        ("\u200b\u2060", 400),
        ("x" * 10_001, 422),
        ("a\x00b", 422),
        (None, 422),
        (7, 422),
        (["x"], 422),
        ({"a": "b"}, 422),
    ],
)
async def test_a_text_that_cannot_be_used_is_refused(client: AsyncClient, text: object, status: int) -> None:
    answer = await client.post("/items", json={"rawText": text})
    assert (answer.status_code, code_of(answer)) == (status, "VALIDATION_ERROR")
    assert await count(client) == 0


@pytest.mark.parametrize(
    "text",
    [
        "x" * 10_000,
        "🦉" * 10_000,
        "שלום עולם",
        "مرحبا",
        "e\u0301\u200d👩‍👩‍👧",
        "İstanbul",
        "\U0001fae8",
        "\ue000",
        "'; DROP TABLE items; --",
    ],
)
async def test_any_other_text_is_kept_as_it_is(client: AsyncClient, text: str) -> None:
    item = await create(client, text)
    assert (await client.get(f"/items/{item['id']}")).json()["rawText"] == text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"rawText": "x"',
        b'{"rawText": "x\\ud800"}',
        b'{"rawText": "\\udc00\\ud800"}',
        b'{"rawText": "\xff\xfe"}',
        b'{"rawText": "x", "enrich": NaN}',
        b'{"rawText": Infinity}',
        b'{"rawText": 1e999}',
        b'{"rawText": "x", "enrich": "yes"}',
        b'{"rawText": "x", "enrich": 1}',
        b'{"rawText": "x", "tagIds": "abc"}',
        b'{"rawText": "x", "tagIds": [null]}',
        b'{"rawText": "x", "tagIds": {"a": 1}}',
        b"[]",
        b'"rawText"',
        b"null",
        DEEP,
    ],
    ids=lambda body: body[:30].decode(errors="replace"),
)
async def test_a_body_that_cannot_be_used_is_422(client: AsyncClient, body: bytes) -> None:
    answer = await client.post("/items", content=body, headers=JSON)
    assert (answer.status_code, code_of(answer)) == (422, "VALIDATION_ERROR")
    assert await count(client) == 0


async def test_of_two_equal_keys_the_last_counts(client: AsyncClient) -> None:
    answer = await client.post("/items", content=b'{"rawText": "one", "rawText": "two"}', headers=JSON)
    assert answer.json()["rawText"] == "two"


@pytest.mark.parametrize("tag_id", ["unknown", "x" * 64, "019a1fd6-0000-7000-8000-000000000000"])
async def test_an_unknown_tag_id_is_400(client: AsyncClient, tag_id: str) -> None:
    answer = await client.post("/items", json={"rawText": "x", "tagIds": [tag_id]})
    assert (answer.status_code, code_of(answer)) == (400, "VALIDATION_ERROR")
    assert await count(client) == 0


@pytest.mark.parametrize("method", ["GET", "PATCH"])
@pytest.mark.parametrize(
    ("item_id", "statuses"),
    [
        ("x" * 500, {422}),
        ("%00", {422}),
        ("%ED%A0%80", {404}),
        ("..%2F..", {404}),
        ("%F0%9F%A6%89", {404}),
        ("a" * 64, {404}),
    ],
)
async def test_an_id_that_cannot_be_one_is_404_or_422(
    client: AsyncClient, method: str, item_id: str, statuses: set[int]
) -> None:
    answer = await client.request(method, f"/items/{item_id}", json={"title": "x"} if method == "PATCH" else None)
    assert answer.status_code in statuses


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=x",
        "limit=1.5",
        "limit=",
        f"limit={'9' * 5000}",
        "limit=NaN",
        "q=%00",
        f"q={'x' * 501}",
        f"cursor={'x' * 501}",
    ],
)
@pytest.mark.parametrize("path", ["/library", "/search"])
async def test_a_query_that_cannot_be_used_is_422(client: AsyncClient, path: str, query: str) -> None:
    answer = await client.get(f"{path}?q=x&{query}")
    assert (answer.status_code, code_of(answer)) == (422, "VALIDATION_ERROR")


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "====",
        "äöü",
        "%00",
        encoded(b""),
        encoded(b"[]"),
        encoded(b'["2026-01-01T00:00:00+00:00", "id"]'),
        encoded(b"\xff" * 60),
        encoded(b"[" * 200),
    ],
)
async def test_a_damaged_cursor_is_400(client: AsyncClient, cursor: str) -> None:
    answer = await client.get(f"/library?cursor={cursor}")
    assert (answer.status_code, code_of(answer)) == (400, "INVALID_CURSOR")


async def test_no_letter_of_a_cursor_can_be_changed(client: AsyncClient) -> None:
    for _ in range(2):
        await create(client, enrich=False)
    cursor = (await client.get("/library?limit=1")).json()["pagination"]["cursor"]
    for place in range(0, len(cursor) - 1, 7):
        damaged = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        assert (await client.get(f"/library?cursor={damaged}")).status_code == 400


@pytest.mark.parametrize("last_id", ["x", "1", "1-", "-1", "1-x", "²-1", "9" * 19 + "-0", "0-" + "9" * 40, "1-1-1"])
async def test_a_damaged_event_id_is_400(client: AsyncClient, last_id: str) -> None:
    answer = await client.get("/items/events", headers={b"Last-Event-ID": last_id.encode()})
    assert (answer.status_code, code_of(answer)) == (400, "INVALID_CURSOR")


@pytest.mark.parametrize("name", [b"", b"x" * 65, b"a\x00b", b"a\tb", b"\x7f"])
async def test_a_name_that_cannot_be_used_is_401(client: AsyncClient, name: bytes) -> None:
    answer = await client.get("/items/pending", headers={b"X-Dev-User-Id": name})
    assert (answer.status_code, code_of(answer)) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("name", ["жуков", "名前", "🦉"])
async def test_a_name_may_be_written_in_any_script(client: AsyncClient, name: str) -> None:
    answer = await client.get("/auth/me", headers={b"X-Dev-User-Id": name.encode()})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "archive"}, 422),
        ({"action": "CONFIRM"}, 422),
        ({"action": 1}, 422),
        ({"title": "x" * 101}, 422),
        ({"title": "  "}, 400),
        ({"summary": "x" * 501}, 422),
        ({"originalText": ""}, 422),
        ({"originalText": "\u200b "}, 400),
        ({"originalText": "x" * 10_001}, 422),
        ({"title": "a\x00"}, 422),
        ({"tags": ["ok", " "]}, 400),
        ({"tags": ["x" * 51]}, 422),
        ({"tags": [None]}, 422),
        ({"tags": "abc"}, 422),
        ({"tags": [str(n) for n in range(51)]}, 422),
        ({"acceptedSuggestionIds": ["unknown"]}, 400),
        ({"rejectedSuggestionIds": ["unknown"]}, 400),
        ({"addedTagIds": ["unknown"]}, 400),
        ({"addedTagIds": [""]}, 422),
    ],
)
async def test_a_change_that_cannot_be_made_changes_nothing(
    client: AsyncClient, body: dict[str, Any], status: int
) -> None:
    before = await create(client, enrich=False)
    answer = await client.patch(f"/items/{before['id']}", json={"summary": "changed", **body})
    assert (answer.status_code, code_of(answer)) == (status, "VALIDATION_ERROR")
    assert (await client.get(f"/items/{before['id']}")).json() == before


@pytest.mark.parametrize("ids", [[], ["x"] * 501, [""], [None], "abc", ["x" * 65], ["a\x00"]])
async def test_bulk_needs_1_to_500_ids(client: AsyncClient, ids: object) -> None:
    assert (await client.post("/items/bulk", json={"action": "confirm", "ids": ids})).status_code == 422


@pytest.mark.parametrize("key", ["", "x" * 256, b"a\x00b"])
async def test_a_key_that_cannot_be_used_is_422(client: AsyncClient, key: str) -> None:
    answer = await client.post("/items", json={"rawText": "x"}, headers={"Idempotency-Key": key})
    assert (answer.status_code, await count(client)) == (422, 0)
