"""A server that asks models dies as by `kill -9` with calls under way: the books know of every call there was."""

from typing import Any

import pytest

from tests.engines import chosen_engine
from tests.protocol_server.server import running_server
from tests.server_process import Processes, query, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chosen_engine() != "sqlite", reason="on PostgreSQL a lease runs out first: see tests/chaos"),
]
SLOTS = 3


def test_after_a_crash_no_call_is_open_none_is_unknown_and_every_item_ends(processes: Processes) -> None:
    with running_server() as upstream:
        settings: dict[str, Any] = {
            "llm_provider": "litellm",
            "llm_api_base": upstream.base_url,
            "OPENAI_API_KEY": "sk-canary",
            "llm_concurrency": SLOTS,
        }
        upstream.set_default("hang_body")
        server = processes.start_server(**settings)
        ids = [server.post(f"Note {index} about a heron of Wexford.") for index in range(SLOTS + 2)]
        server.wait_for(lambda: len(upstream.calls) == SLOTS, f"{SLOTS} calls upstream", seconds=40)
        server.kill()
        assert upstream.wait_idle(5)
        upstream.set_default("ok")
        server = processes.start_server(**settings)
        server.wait_status(ids, ["READY_TO_CONFIRM"], seconds=40)

        def outcomes() -> dict[str | None, int]:
            rows = query(processes.database_url, "SELECT outcome, count(*) FROM llm_attempts GROUP BY outcome")
            return {row[0]: row[1] for row in rows}

        wait_until(lambda: outcomes() == {"IN_DOUBT": SLOTS, "OK": len(ids)}, "the books to be settled")
        assert len(upstream.calls) == SLOTS + len(ids)
        told = {call.correlation_id for call in upstream.calls}
        assert told == {str(row[0]) for row in query(processes.database_url, "SELECT id FROM llm_attempts")}
