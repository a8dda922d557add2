"""How much of a long item a model saw, told by the server: on the stub, and over a local server with a small window."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config import LLMSettings
from tests.conftest import make_settings, served
from tests.protocol_server.server import ProtocolServer, running_server
from tests.queries.upstream import CALLER
from tests.server_process import wait_until

pytestmark = pytest.mark.slow
LONG = " ".join(f"Sentence number {number} of a long note." for number in range(255))
WINDOW = 4_096


@pytest.fixture(scope="module")
def upstream() -> Iterator[ProtocolServer]:
    with running_server() as server:
        server.offer.models, server.offer.context_tokens = ["tiny"], WINDOW
        yield server


def asking(url: str) -> httpx.Client:
    return httpx.Client(base_url=f"{url}/api/v1", headers=CALLER, timeout=30)


def enriched(http: httpx.Client, text: str) -> Any:
    """The item, as it is shown when its enrichment has ended."""
    path = f"/items/{http.post('/items', json={'rawText': text}).json()['id']}"
    wait_until(lambda: http.get(path).json()["status"] != "ENRICHING", "the end of the enrichment", seconds=60)
    item = http.get(path).json()
    assert item["status"] == "READY_TO_CONFIRM", item
    return item


def test_the_stub_sees_all_of_it(database_url: str, tmp_path: Path) -> None:
    with served(make_settings(database_url, tmp_path, worker_enabled=True)) as url, asking(url) as http:
        assert enriched(http, LONG)["enrichment"]["coverage"] == 1


def test_a_small_model_is_shown_head_and_tail_and_the_item_says_so(
    upstream: ProtocolServer, database_url: str, tmp_path: Path
) -> None:
    llm = LLMSettings(_env_file=None, provider="litellm", model="openai/tiny", api_base=upstream.base_url)
    with served(make_settings(database_url, tmp_path, llm=llm, worker_enabled=True)) as url, asking(url) as http:
        item = enriched(http, LONG)
        seen = item["enrichment"]["coverage"]
        assert 0.3 < seen < 0.95
        [call] = upstream.calls
        assert call.billed_input_tokens <= WINDOW - llm.max_tokens
        (pending,) = http.get("/items/pending").json()["items"]
        assert pending["enrichment"]["coverage"] == seen
        again = enriched(http, LONG)["enrichment"]
        assert (again["cached"], again["coverage"]) == (True, seen) and len(upstream.calls) == 1
        assert enriched(http, LONG[:500])["enrichment"]["coverage"] == 1
