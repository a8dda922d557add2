"""Each way to fail can be seen on a running server: by a setting the stub fails with it, and the item says so."""

from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient

from app.config import LLMSettings
from app.errors import llm_errors
from app.items.item import ItemStatus
from app.main import create_app
from tests.conftest import API, Json, create, make_settings
from tests.worker.vault import until_true

CODES = [
    "LLM_API_ERROR",
    "LLM_AUTH",
    "LLM_BAD_REQUEST",
    "LLM_BUDGET_EXCEEDED",
    "LLM_CONTENT_REFUSED",
    "LLM_CONTEXT_TOO_LONG",
    "LLM_DISABLED",
    "LLM_INTERRUPTED",
    "LLM_MODEL_NOT_FOUND",
    "LLM_PRIVATE_TEXT",
    "LLM_RATE_LIMITED",
    "LLM_TIMEOUT",
    "LLM_VALIDATION_ERROR",
]


@pytest.mark.parametrize("code", CODES)
async def test_an_item_fails_with_this_code_a_sentence_and_a_next_step(
    code: str, database_url: str, tmp_path: Path
) -> None:
    item = await _fate(code, database_url, tmp_path)
    kind, error = llm_errors()[code], item["enrichmentError"]
    assert item["status"] == ItemStatus.FAILED
    assert (error["code"], error["message"], error["nextStep"]) == (code, kind.sentence, kind.next_step)
    assert (error["retryable"], error["details"]["family"]) == (kind.retryable, kind.family)
    assert error["message"].endswith(".") and error["nextStep"].endswith(".")


async def _fate(code: str, database_url: str, data_dir: Path) -> Json:
    """An item of a server whose stub fails with this code, when it has come to an end."""
    llm = LLMSettings(_env_file=None, stub_failure=code)
    app = create_app(make_settings(database_url, data_dir, llm=llm, worker_enabled=True, worker_backoff_seconds=0))
    transport, headers = ASGITransport(app=app), {"X-Dev-User-Id": "a"}
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=transport, base_url=f"http://litevault.test{API}", headers=headers) as client,
    ):
        item = await create(client)

        async def has_ended() -> bool:
            item.update((await client.get(f"/items/{item['id']}")).json())
            return bool(item["status"] != ItemStatus.ENRICHING)

        await until_true(has_ended)
    return item


def test_the_codes_are_those_of_the_api() -> None:
    assert sorted(llm_errors()) == CODES
