"""Real servers on one PostgreSQL: what the upstream sees of them together."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.engines import chosen_engine
from tests.llm.shared.peers import most_in_a_window
from tests.protocol_server.server import ProtocolServer
from tests.server_process import Processes, Server, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chosen_engine() != "postgresql", reason="of SQLite the same is asked of peers in one process"),
]
LIMIT = 6
PROVIDERS = "/api/v1/llm/providers"


def start(processes: Processes, number: int) -> list[Server]:
    """Servers that may ask this machine for models; the first migrates."""
    settings: dict[str, Any] = {
        "llm_provider": "litellm",
        "llm_allowed_hosts": "127.0.0.1",
        "OPENAI_API_KEY": "sk-canary",
        "worker_enabled": False,
    }
    return [processes.start_server(**settings) for _ in range(number)]


def register(server: Server, upstream: ProtocolServer, **limits: int) -> str:
    """Of the provider `local`, by its id."""
    body = {"name": "local", "kind": "openai_compatible", "baseUrl": upstream.base_url, "apiKey": "sk-1", **limits}
    answer = server.http.post(PROVIDERS, json=body, **server.as_user("ann"))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def ask(server: Server, text: str, seconds: float = 40) -> int:
    """The status; 0 where there was none in that time, or the server ended."""
    body = {"model": "local/tiny", "messages": [{"role": "user", "content": text}]}
    url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
    try:
        return httpx.post(url, json=body, timeout=seconds, **server.as_user("ann")).status_code
    except httpx.TransportError:
        return 0


def traffic_of(server: Server) -> dict[str, Any]:
    answer = server.http.get(f"{PROVIDERS}/local/status", **server.as_user("ann"))
    return dict(answer.json()["traffic"]) if answer.status_code == 200 else {}


@contextmanager
def asking(servers: list[Server], each: int) -> Iterator[None]:
    """Calls to all of them at once; the servers do not live longer than the block."""
    with ThreadPoolExecutor(len(servers) * each) as pool:
        for number in range(each):
            for server in servers:
                pool.submit(ask, server, f"Question {number}")
        try:
            yield
        finally:
            for server in servers:
                server.kill()


def test_two_servers_keep_to_one_limit_together(processes: Processes, upstream: ProtocolServer) -> None:
    servers = start(processes, 2)
    register(servers[0], upstream, requestsPerMinute=LIMIT)
    wait_until(lambda: all(traffic_of(server) for server in servers), "both to know the provider")
    assert [ask(server, "To get ready") for server in servers] == [200, 200]
    with asking(servers, LIMIT):
        wait_until(lambda: len(upstream.calls) == LIMIT, "as many calls as the limit allows")
        left = 2 * LIMIT + 2 - LIMIT
        wait_until(lambda: sum(traffic_of(server)["waiting"] or 0 for server in servers) == left, "the others to wait")
        shares = [traffic_of(server)["shares"] for server in servers]
        assert sum(share["requestsHeld"] for share in shares) == LIMIT
        assert all(share["isShared"] and share["processes"] == 2 for share in shares)
    assert most_in_a_window([call.arrived_monotonic for call in upstream.calls], 60) == LIMIT


def test_a_key_that_one_server_saw_refused_is_not_tried_by_the_other_until_it_is_changed(
    processes: Processes, upstream: ProtocolServer
) -> None:
    servers = start(processes, 2)
    provider_id = register(servers[0], upstream)
    wait_until(lambda: all(traffic_of(server) for server in servers), "both to know the provider")
    upstream.set_default("401")
    assert ask(servers[0], "Who is there?") >= 400
    began = time.monotonic()
    wait_until(lambda: not traffic_of(servers[1])["gate"]["isOpen"], "the other one to hear of it")
    print(f"closed in the other server after {time.monotonic() - began:.3f} s")
    assert traffic_of(servers[1])["gate"]["isShared"]
    assert ask(servers[1], "Who is there?", seconds=3) != 200
    assert len(upstream.calls) == 1
    upstream.set_default("ok")
    found = servers[1].http.get(f"{PROVIDERS}/{provider_id}", **servers[1].as_user("ann")).json()
    unsent = ("id", "hasKey", "keyChangedAt", "createdAt", "updatedAt")
    changed = {name: value for name, value in found.items() if name not in unsent} | {"apiKey": "sk-2"}
    answer = servers[1].http.put(f"{PROVIDERS}/{provider_id}", json=changed, **servers[1].as_user("ann"))
    assert answer.status_code == 200, answer.text
    wait_until(lambda: all(traffic_of(server)["gate"]["isOpen"] for server in servers), "both to be open")
    assert [ask(server, "And now?") for server in servers] == [200, 200]
