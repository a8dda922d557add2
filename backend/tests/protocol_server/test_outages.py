"""Down and well again: for all requests, for a time, by call or by control; and certificates that clients refuse."""

import asyncio
import ssl
import time
from collections.abc import Callable

import aiohttp
import httpx
import pytest

from tests.protocol_server.certificates import Authority
from tests.protocol_server.conftest import KEY, Asker
from tests.protocol_server.server import ProtocolServer, running_server

HEADERS = {"authorization": f"Bearer {KEY}"}
BODY = {"model": "m", "messages": [{"role": "user", "content": "a"}]}


def wait_until(is_true: Callable[[], bool]) -> None:
    """By asking again: what a client of a flapping upstream does."""
    end = time.monotonic() + 5
    while not is_true():
        assert time.monotonic() < end


def is_up(asker: Asker) -> bool:
    try:
        return asker.http.get("/v1/models").status_code == 200
    except httpx.ConnectError:
        return False


def test_down_is_down_for_calls_and_models_until_it_is_up(asker: Asker) -> None:
    asker.server.go_down()
    assert (asker.post("a").status_code, asker.http.get("/v1/models").status_code) == (503, 503)
    assert asker.message("a").status_code == 503
    asker.server.go_up()
    assert (asker.post("a").status_code, asker.http.get("/v1/models").status_code) == (200, 200)
    assert [call.status for call in asker.server.calls] == [503, 503, 200]


def test_an_outage_leaves_markers_and_scripts_for_later(asker: Asker) -> None:
    asker.server.script("404")
    asker.server.go_down("529")
    assert [asker.post(text).status_code for text in ("a", "a [[fault:500,ok]]")] == [529, 529]
    asker.server.go_up()
    assert [asker.post(text).status_code for text in ("a", "a [[fault:500,ok]]")] == [404, 500]


@pytest.mark.parametrize("fault", ["503", "refused"])
def test_an_outage_of_a_settable_time_ends_by_itself(asker: Asker, fault: str) -> None:
    start = time.monotonic()
    asker.server.go_down(fault, seconds=0.2)
    assert not is_up(asker)
    wait_until(lambda: is_up(asker))
    assert time.monotonic() - start > 0.19


def test_refused_means_that_nobody_listens_and_the_port_comes_back(asker: Asker) -> None:
    port = asker.server.port
    asker.post("a")
    asker.server.go_down("refused")
    for _ in range(2):
        with pytest.raises(httpx.ConnectError, match="refused"):
            asker.post("a")
    asker.server.go_up()
    assert (asker.post("a").status_code, asker.server.port, len(asker.server.calls)) == (200, port, 2)


def test_who_is_being_answered_when_the_server_goes_is_cut_off_and_has_not_hung_up(asker: Asker) -> None:
    asker.server.script("stream_stall=1")
    body = {**BODY, "stream": True}
    with asker.http.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        asker.server.go_down("refused")
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
    call = asker.server.calls[0]
    assert (call.ended_at is not None, call.has_hung_up) == (True, False)


def test_control_puts_it_down_and_up(asker: Asker) -> None:
    assert asker.http.post("/control/down", json={"fault": "500"}).status_code == 200
    assert (asker.post("a").status_code, asker.http.get("/control/stats").json()["down"]) == (500, "500")
    asker.http.post("/control/up")
    assert asker.post("a").status_code == 200


def test_control_refuses_connections_for_a_time(asker: Asker) -> None:
    assert asker.http.post("/control/down", json={"fault": "refused", "seconds": 0.2}).status_code == 200
    wait_until(lambda: not is_up(asker))
    wait_until(lambda: is_up(asker))


@pytest.mark.parametrize("body", [{"fault": "refused"}, {"fault": "nonsense"}, {"faults": "500"}])
def test_an_outage_that_cannot_be_is_refused(asker: Asker, body: dict[str, str]) -> None:
    assert asker.http.post("/control/down", json=body).status_code == 400
    assert asker.post("a").status_code == 200


def test_reset_makes_well(asker: Asker) -> None:
    asker.server.go_down("refused")
    asker.server.reset()
    assert asker.post("a").status_code == 200


def test_listings_alone_can_fail(asker: Asker) -> None:
    asker.http.post("/control/script", json={"listing_fault": "401"})
    assert (asker.http.get("/v1/models").status_code, asker.post("a").status_code) == (401, 200)
    for fault, error in (("reset", httpx.ReadError), ("hang_headers", httpx.ReadTimeout)):
        asker.server.listing_fault = fault
        with pytest.raises(error):
            asker.http.get("/v1/models", timeout=0.1)
    asker.server.listing_fault = "html"
    assert asker.http.get("/v1/models").text.startswith("<!DOCTYPE html>")


def test_a_server_that_stops_while_it_is_down_is_gone() -> None:
    with running_server() as server:
        server.go_down("refused", seconds=0.05)
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


def test_it_goes_down_and_up_on_the_loop_of_the_caller() -> None:
    async def ask() -> list[int]:
        async with ProtocolServer() as server, aiohttp.ClientSession(headers=HEADERS) as http:
            statuses = []
            for change in (server.go_down, server.go_up):
                change()
                async with http.post(f"{server.base_url}/chat/completions", json=BODY) as response:
                    statuses.append(response.status)
            return statuses

    assert asyncio.run(ask()) == [503, 200]


@pytest.mark.parametrize(
    ("certificate", "words"), [("expired", "certificate has expired"), ("for_another_host", "IP address mismatch")]
)
def test_a_client_refuses_a_bad_certificate_and_no_call_arrives(certificate: str, words: str) -> None:
    authority, context = Authority(), ssl.create_default_context()
    authority.trust(context)
    with running_server(tls=getattr(authority, certificate)()) as server, httpx.Client(verify=context) as http:
        with pytest.raises(httpx.ConnectError, match=words):
            http.post(f"{server.base_url}/chat/completions", json=BODY, headers=HEADERS)
        assert server.calls == []


def test_a_valid_certificate_is_taken_by_who_trusts_its_authority() -> None:
    authority, context = Authority(), ssl.create_default_context()
    authority.trust(context)
    with running_server(tls=authority.valid()) as server, httpx.Client(verify=context) as http:
        url = f"{server.base_url}/chat/completions"
        assert http.post(url, json={**BODY, "stream": True}, headers=HEADERS).text.endswith("data: [DONE]\n\n")
        with pytest.raises(httpx.ConnectError, match=r"self-signed|unable to get local issuer"):
            httpx.post(url, json=BODY, headers=HEADERS)
