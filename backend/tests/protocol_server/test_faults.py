"""Every fault of the table, as a client sees it over a real socket, and what it costs."""

import json
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from tests.protocol_server.answers import enrichment_for
from tests.protocol_server.conftest import KEY, Asker
from tests.protocol_server.faults.content import PROSE, REFUSAL
from tests.protocol_server.faults.table import ALL_FAULTS, FAULTS, UnknownFaultError, parse_expression

NOTE = "Remember the milk"
FREE = {
    *(
        "400",
        "400_policy",
        "400_context",
        "401",
        "403",
        "404",
        "408",
        "500",
        "503",
        "529",
        "reset",
        "hang_headers",
        "html",
    ),
    *("429", "429_quota", "429_retry_after", "429_retry_date", "503_retry_after"),
}
ERRORS = [
    ("400", 400, None),
    ("400_policy", 400, "content_policy_violation"),
    ("400_context", 400, "context_length_exceeded"),
    ("401", 401, "invalid_api_key"),
    ("403", 403, "unsupported_country_region_territory"),
    ("404", 404, "model_not_found"),
    ("408", 408, None),
    ("429", 429, "rate_limit_exceeded"),
    ("429_quota", 429, "insufficient_quota"),
    ("500", 500, None),
    ("503", 503, None),
    ("529", 529, None),
]


def fields_of(asker: Asker, fault: str) -> dict[str, Any]:
    asker.server.script(fault)
    fields: dict[str, Any] = json.loads(asker.content(NOTE))
    return fields


@pytest.mark.parametrize(("fault", "status", "code"), ERRORS)
def test_an_error_has_its_status_and_code(asker: Asker, fault: str, status: int, code: str | None) -> None:
    asker.server.script(fault)
    response = asker.post(NOTE)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert "retry-after" not in response.headers


def test_a_401_repeats_the_key_and_a_400_the_text(asker: Asker) -> None:
    asker.server.script("401", "400")
    assert KEY in asker.post(NOTE).text
    assert NOTE in asker.post(NOTE).text


def test_braces_in_the_text_are_only_text(asker: Asker) -> None:
    asker.server.script("400")
    assert "{key} {0}" in asker.post("{key} {0}").json()["error"]["message"]


def test_retry_after_comes_in_seconds_or_as_a_date(asker: Asker) -> None:
    asker.server.script("429_retry_after=2.5", "429_retry_date=60")
    assert asker.post(NOTE).headers["retry-after"] == "2.5"
    date = parsedate_to_datetime(asker.post(NOTE).headers["retry-after"])
    assert 50 < date.timestamp() - asker.server.calls[1].arrived_at.timestamp() <= 60


@pytest.mark.parametrize("fault", ["latency=0.15", "slow_headers=0.15", "slow_body=0.15"])
def test_a_slow_answer_is_late_but_whole(asker: Asker, fault: str) -> None:
    asker.server.script(fault)
    start = time.monotonic()
    assert json.loads(asker.content(NOTE)) == enrichment_for(NOTE)
    assert 0.12 < time.monotonic() - start < 2


def test_a_slow_body_sends_its_headers_at_once(asker: Asker) -> None:
    asker.server.script("slow_body=30")
    body = {"model": "m", "messages": [{"role": "user", "content": NOTE}]}
    with asker.http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200
    assert asker.server.wait_idle()
    assert asker.server.calls[0].has_hung_up


@pytest.mark.parametrize("fault", ["reset", "reset_body"])
def test_a_reset_is_a_tcp_reset(asker: Asker, fault: str) -> None:
    asker.server.script(fault)
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        asker.post(NOTE)
    assert not asker.server.calls[0].has_hung_up


@pytest.mark.parametrize("fault", ["hang_headers", "hang_body"])
def test_a_hang_lasts_until_the_client_leaves(asker: Asker, fault: str) -> None:
    asker.server.script(fault)
    asker.http.timeout = httpx.Timeout(0.1)
    with pytest.raises(httpx.ReadTimeout):
        asker.post(NOTE)
    assert asker.server.wait_idle()
    assert asker.server.calls[0].has_hung_up


@pytest.mark.parametrize(
    ("fault", "content"), [("empty", ""), ("prose", PROSE), ("content_filter", ""), ("refusal", None)]
)
@pytest.mark.parametrize("mode", ["tools", "json_schema"])
def test_words_instead_of_json_come_without_a_tool_call(
    asker: Asker, fault: str, content: str | None, mode: str
) -> None:
    asker.server.script(fault)
    choice = asker.post(NOTE, mode=mode).json()["choices"][0]
    assert choice["message"]["content"] == content
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == ("content_filter" if fault == "content_filter" else "stop")
    assert choice["message"]["refusal"] == (REFUSAL if fault == "refusal" else None)


@pytest.mark.parametrize("mode", ["tools", "json_schema"])
def test_fenced_json_stands_in_the_content(asker: Asker, mode: str) -> None:
    asker.server.script("fenced")
    fenced = asker.content(NOTE, mode=mode).partition("```json\n")[2].partition("\n```")[0]
    assert json.loads(fenced) == enrichment_for(NOTE)


def test_a_thought_stands_before_the_json(asker: Asker) -> None:
    asker.server.script("think")
    thought, end, answer = asker.content(NOTE).partition("</think>\n")
    assert (thought[:7], end) == ("<think>", "</think>\n")
    assert json.loads(answer) == enrichment_for(NOTE)


def test_a_cut_answer_says_so_and_is_no_json(asker: Asker) -> None:
    asker.server.script("cut")
    choice = asker.post(NOTE, mode="tools").json()["choices"][0]
    assert choice["finish_reason"] == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])


def test_fields_break_the_rules_on_demand(asker: Asker) -> None:
    assert len(fields_of(asker, "tags_2")["tags"]) == 2
    assert len(fields_of(asker, "tags_7")["tags"]) == 7
    assert len({tag.strip().lower() for tag in fields_of(asker, "tags_messy")["tags"]}) == 3
    assert len(fields_of(asker, "long_title")["title"]) == 150
    assert "\x00" in fields_of(asker, "nul_title")["title"]
    assert fields_of(asker, "wrong_source_type")["source_type"] == "PODCAST"


def test_a_huge_answer_arrives_whole(asker: Asker) -> None:
    assert len(fields_of(asker, "huge=3")["summary"]) == 3_000_000


def test_the_usage_can_be_missing(asker: Asker) -> None:
    asker.server.script("no_usage")
    assert "usage" not in asker.post(NOTE).json()


def test_html_and_broken_json_come_with_200(asker: Asker) -> None:
    asker.server.script("html", "invalid_json")
    html, broken = asker.post(NOTE), asker.post(NOTE)
    assert (html.status_code, html.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert broken.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        broken.json()


def test_faults_join(asker: Asker) -> None:
    asker.server.script("latency=0.1+503")
    start = time.monotonic()
    assert asker.post(NOTE).status_code == 503
    assert time.monotonic() - start > 0.09


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_what_is_generated_is_billed_and_nothing_else(asker: Asker, fault: str) -> None:
    asker.http.timeout = httpx.Timeout(0.3)
    asker.server.script(
        {"huge": "huge=1", "slow_body": "slow_body=0.1", "slow_headers": "slow_headers=0.1"}.get(fault, fault)
    )
    with suppress(httpx.HTTPError):
        asker.post(NOTE)
    assert asker.server.wait_idle()
    assert (asker.server.calls[0].billed_input_tokens == 0) == (fault in FREE)


@pytest.mark.parametrize("expression", ["nonsense", "500=2", "latency=x", "", "ok=1", "500+nonsense"])
def test_an_expression_off_the_table_is_refused(expression: str) -> None:
    with pytest.raises(UnknownFaultError):
        parse_expression(expression)


def test_every_fault_says_what_it_does() -> None:
    assert all(fault.summary.endswith(".") for fault in ALL_FAULTS.values())
