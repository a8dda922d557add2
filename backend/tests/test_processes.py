"""Whole processes and signals: a stop loses nothing, a crash loses nothing, and processes share one database."""

import signal

import pytest

from tests.engines import chosen_engine
from tests.server_process import Processes, Server, query, wait_until

pytestmark = pytest.mark.slow
sqlite_only = pytest.mark.skipif(chosen_engine() != "sqlite", reason="a promise about the one SQLite file")
# uvicorn ends itself by the signal that it was sent, after everything is in order: a shell says 143, systemd "clean".
BY_SIGTERM = -signal.SIGTERM
SLOTS = 3
LEASED = "SELECT count(*) FROM items WHERE lease_owner IS NOT NULL"
OK = {"database": "ok", "worker": "ok", "migrations": "ok"}
UNDER_WAY = "SELECT count(*) FROM llm_attempts WHERE outcome IS NULL"


def count(processes: Processes, statement: str) -> int:
    return int(query(processes.database_url, statement)[0][0])


def wait_in_flight(processes: Processes, number: int = SLOTS) -> None:
    """Until so many model calls are under way."""
    wait_until(lambda: count(processes, UNDER_WAY) == number, f"{number} calls under way")


def post_some(server: Server, number: int = SLOTS + 2) -> list[str]:
    return [server.post(f"Note {index}") for index in range(number)]


def released(processes: Processes) -> list[tuple[object, ...]]:
    """Status, attempt, deaths and outcome of the call, for each item that was in flight."""
    return query(
        processes.database_url,
        "SELECT i.status, i.attempt, i.deaths, i.lease_owner, a.outcome "
        "FROM items i JOIN llm_attempts a ON a.item_id = i.id",
    )


GIVEN_BACK = ("ENRICHING", 0, 0, None, "CANCELLED")


def test_a_stop_waits_for_items_in_flight_and_ends_an_open_stream(processes: Processes) -> None:
    server = processes.start_server(llm_stub_delay_seconds=1.5, llm_concurrency=SLOTS, worker_drain_seconds=10)
    ids = post_some(server)
    with server.http.stream("GET", "/api/v1/items/events", **server.as_user("ann")) as stream:
        assert stream.status_code == 200
        wait_in_flight(processes)
        assert server.stop(seconds=9) == BY_SIGTERM
        # To its end, which httpx would complain of if the connection had been cut.
        stream.read()
    rows = query(processes.database_url, "SELECT status, attempt, deaths, lease_owner FROM items ORDER BY created_at")
    assert rows == [("READY_TO_CONFIRM", 1, 0, None)] * SLOTS + [("ENRICHING", 0, 0, None)] * (len(ids) - SLOTS)


def test_what_does_not_end_in_the_drain_goes_back_with_its_attempt(processes: Processes) -> None:
    server = processes.start_server(llm_stub_delay_seconds=600, llm_concurrency=SLOTS, worker_drain_seconds=0.3)
    post_some(server)
    wait_in_flight(processes)
    assert server.stop(seconds=8) == BY_SIGTERM
    assert released(processes) == [GIVEN_BACK] * SLOTS


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, BY_SIGTERM), (signal.SIGINT, 0)])
def test_a_second_signal_cuts_the_drain_short(processes: Processes, number: signal.Signals, exit_code: int) -> None:
    server = processes.start_server(llm_stub_delay_seconds=600, llm_concurrency=SLOTS, worker_drain_seconds=600)
    post_some(server)
    wait_in_flight(processes)
    server.send(number)
    server.wait_log("Waiting for application shutdown")
    assert server.stop(number, seconds=8) == exit_code
    assert released(processes) == [GIVEN_BACK] * SLOTS


@sqlite_only
def test_after_a_crash_what_was_in_flight_runs_again_at_once(processes: Processes) -> None:
    server = processes.start_server(llm_stub_delay_seconds=600, llm_concurrency=SLOTS)
    ids = post_some(server, SLOTS)
    wait_in_flight(processes)
    server.kill()
    assert count(processes, LEASED) == SLOTS
    server = processes.start_server(llm_concurrency=SLOTS)
    seconds = server.wait_status(ids, ["READY_TO_CONFIRM"])
    print(f"in flight at the crash, ended {seconds:.2f} s after the restarted server was ready")
    assert query(processes.database_url, "SELECT DISTINCT attempt, deaths FROM items") == [(2, 1)]


@sqlite_only
def test_of_two_servers_on_one_file_the_second_stands_by_and_takes_over(processes: Processes) -> None:
    first = processes.start_server(llm_stub_delay_seconds=600)
    second = processes.start_server()
    assert second.readiness() == (200, {"status": "ready", "checks": OK | {"worker": "standby"}})
    item_id = second.post("Posted to the one that stands by.")
    wait_in_flight(processes, 1)
    first.kill()
    second.wait_status([item_id], ["READY_TO_CONFIRM"])
    assert second.checks()["worker"] == "ok"


def test_an_api_without_worker_wakes_a_worker_in_another_process(processes: Processes) -> None:
    server = processes.start_server(worker_enabled=False)
    assert server.readiness() == (200, {"status": "ready", "checks": OK | {"worker": "disabled"}})
    worker = processes.start_worker(worker_poll_seconds=600)
    for index in range(3):
        # The deadline is far below the poll: only the news can have woken it.
        seconds = server.wait_status([server.post(f"Note {index}")], ["READY_TO_CONFIRM"], seconds=10)
        print(f"enriched by the other process after {seconds:.3f} s")
    assert worker.stop() == 0


BY_STUB = {"llm_enabled": False, "llm_disabled_mode": "stub", "llm_provider": "litellm"}


@pytest.mark.parametrize("change", [{"llm_enabled": True}, BY_STUB], ids=["on again", "by the stub"])
def test_switched_off_the_model_keeps_items_waiting_until_the_setting_changes(
    processes: Processes, change: dict[str, object]
) -> None:
    server = processes.start_server(llm_enabled=False, worker_poll_seconds=0.05)
    ids = post_some(server)
    assert server.statuses(ids) == {"ENRICHING"} and server.checks() == OK
    assert server.stop() == BY_SIGTERM
    assert count(processes, "SELECT count(*) FROM llm_attempts") == 0
    server = processes.start_server(ready=True, **change)
    server.wait_status(ids, ["READY_TO_CONFIRM"])
    assert {server.item(item_id)["enrichment"]["provider"] for item_id in ids} == {"stub"}


def test_in_production_the_development_header_is_not_taken(processes: Processes) -> None:
    server = processes.start_server(environment="production", worker_enabled=False)
    answer = server.http.get("/api/v1/items/pending", **server.as_user("ann"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")


def test_production_with_the_development_header_on_refuses_to_start(processes: Processes) -> None:
    server = processes.start_server(ready=False, environment="production", dev_auth=True)
    assert server.wait_end() > 0
    assert "LITEVAULT_DEV_AUTH must be off when LITEVAULT_ENVIRONMENT is production" in server.log.splitlines()[-1]
