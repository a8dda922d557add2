"""Queries and whole processes: a crash loses none, other processes' answers are heard of, a stop gives back."""

import asyncio
import threading
from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import update

from app.database import Database
from app.queries.query_model import Query
from tests.queries.conftest import ASKED
from tests.server_process import Processes, Server, query, wait_until

pytestmark = pytest.mark.slow
QUERY = "/api/v1/llm/query"
UNDER_WAY = "SELECT count(*) FROM llm_attempts WHERE outcome IS NULL"


def post(server: Server, path: str = "", **changes: object) -> httpx.Response:
    return server.http.post(f"{QUERY}{path}", json={**ASKED, **changes}, **server.as_user("ann"))


def wait_under_way(processes: Processes, number: int = 1) -> None:
    wait_until(lambda: query(processes.database_url, UNDER_WAY) == [(number,)], f"{number} calls under way")


def wait_done(server: Server, query_id: str, seconds: float = 20) -> float:
    path = f"{QUERY}/{query_id}/result"
    return server.wait_for(
        lambda: server.http.get(path, **server.as_user("ann")).status_code == 200, "the result", seconds=seconds
    )


async def let_leases_run_out(database_url: str) -> None:
    database = Database(database_url)
    await database.start()
    await database.write(
        lambda session: session.execute(update(Query).values(lease_until=datetime(2026, 1, 1, tzinfo=UTC)))
    )
    await database.close()


def stream_in_background(server: Server) -> threading.Thread:
    def read() -> None:
        try:
            post(server, "/stream")
        except httpx.HTTPError:
            return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def test_queries_survive_a_crash(processes: Processes) -> None:
    server = processes.start_server(llm_stub_delay_seconds=600, worker_lease_seconds=2)
    ids = [post(server, waitSeconds=0).json()["queryId"] for _ in range(5)]
    wait_under_way(processes, 5)
    server.kill()
    server = processes.start_server(worker_lease_seconds=2)
    seconds = [wait_done(server, query_id) for query_id in ids]
    print(f"queries in flight at the crash, ended {max(seconds):.2f} s after the restarted server was ready")
    outcomes = "SELECT outcome, count(*) FROM llm_attempts GROUP BY outcome ORDER BY outcome"
    assert query(processes.database_url, outcomes) == [("IN_DOUBT", 5), ("OK", 5)]


def test_a_streamed_query_is_taken_over_after_a_crash_when_its_time_is_over(processes: Processes) -> None:
    server = processes.start_server(llm_stub_delay_seconds=600)
    reading = stream_in_background(server)
    wait_under_way(processes)
    server.kill()
    reading.join(10)
    [(query_id, status, attempt)] = query(processes.database_url, "SELECT id, status, attempt FROM queries")
    assert (status, attempt) == ("RUNNING", 0)
    asyncio.run(let_leases_run_out(processes.database_url))
    server = processes.start_server()
    wait_done(server, str(query_id))


def test_a_worker_that_starts_beside_it_leaves_a_stream_alone(processes: Processes) -> None:
    server = processes.start_server(llm_stub_delay_seconds=3, worker_enabled=False)
    reading = stream_in_background(server)
    wait_under_way(processes)
    processes.start_worker()
    reading.join(20)
    ended = "SELECT q.status, q.deaths, a.outcome FROM queries q JOIN llm_attempts a ON a.item_id = q.id"
    assert query(processes.database_url, ended) == [("DONE", 0, "OK")]


def test_who_waits_hears_of_an_answer_that_another_process_gave(processes: Processes) -> None:
    server = processes.start_server(worker_enabled=False)
    processes.start_worker(worker_poll_seconds=600)
    answer = post(server, waitSeconds=20)
    assert answer.status_code == 200
    # Far below the poll of five seconds under a missed announcement.
    assert answer.elapsed.total_seconds() < 3


def test_a_stop_answers_those_who_wait_and_gives_streams_back(processes: Processes) -> None:
    server = processes.start_server(llm_stub_delay_seconds=600, worker_drain_seconds=0.3)
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(post(server, waitSeconds=30)), daemon=True)
    waiting.start()
    reading = stream_in_background(server)
    wait_under_way(processes, 2)
    server.stop(seconds=8)
    waiting.join(5)
    reading.join(5)
    assert [answer.status_code for answer in answers] == [202]
    assert query(processes.database_url, "SELECT status, lease_owner FROM queries") == [("RUNNING", None)] * 2
    assert query(processes.database_url, "SELECT outcome FROM llm_attempts") == [("CANCELLED",)] * 2
    server = processes.start_server()
    for (query_id,) in query(processes.database_url, "SELECT id FROM queries"):
        wait_done(server, str(query_id))
