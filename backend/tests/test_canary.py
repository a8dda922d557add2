"""Keys, notes and answers stay where they belong, whatever goes wrong: one server through everything, and a look."""

from collections.abc import Iterator

import pytest

from app.migrations import migrate
from tests.canary import ANSWERS, CANARIES, OTHER, Evidence, go_through_everything, name_of
from tests.engines import fresh_database
from tests.llm.test_client_faults import TABLE, Row
from tests.protocol_server.answers import digest_of

pytestmark = pytest.mark.slow
JSON_MODE = 1
REFUSED = {
    "INVALID_CURSOR",
    "NOT_FOUND",
    "PAYLOAD_TOO_LARGE",
    "UNAUTHORIZED",
    "UNSUPPORTED_MEDIA_TYPE",
    "VALIDATION_ERROR",
}
WAITED_FOR = {"429_retry_after", "429_retry_date"}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    for url in fresh_database(migrate):
        yield go_through_everything(tmp_path_factory.mktemp("canary"), url)


def found_in(text: str, words: tuple[str, ...] = CANARIES) -> list[str]:
    return [word for word in words if word.lower() in text.lower()]


def test_nothing_of_a_key_a_note_or_an_answer_is_in_the_log(evidence: Evidence) -> None:
    failed = [item for item in evidence.items.values() if item["status"] == "FAILED"]
    assert evidence.log.count("item.failed") == len(failed) > len(TABLE) / 2
    lines = [line for line in evidence.log.splitlines() if found_in(line, CANARIES + ANSWERS)]
    assert lines == []
    references = [digest_of(item["rawText"])[:12] for item in evidence.items.values()]
    assert found_in(evidence.log, tuple(references)) == []


@pytest.mark.parametrize("row", TABLE, ids=name_of)
def test_each_fault_ends_its_item_as_the_table_says(evidence: Evidence, row: Row) -> None:
    item = evidence.items[name_of(row)]
    error = item["enrichmentError"]
    if name_of(row) == "429_quota":
        assert item["status"] == "ENRICHING" and error is None
    elif row.error is None or row.calls[JSON_MODE] == 0 or name_of(row) in WAITED_FOR:
        assert item["status"] == "READY_TO_CONFIRM" and error is None
    else:
        assert item["status"] == "FAILED" and error["code"] == row.code
        assert found_in(str(error), CANARIES + ANSWERS) == []


def test_nothing_is_in_the_columns_for_errors_and_on_the_books(evidence: Evidence) -> None:
    assert len([row for row in evidence.attempts if "UNUSED" not in row]) == len(evidence.calls)
    assert found_in(str(evidence.columns) + str(evidence.attempts), CANARIES + ANSWERS) == []


def test_a_refusal_repeats_nothing_of_what_it_refuses(evidence: Evidence) -> None:
    assert {name: answer.status_code for name, answer in evidence.refusals.items() if answer.status_code < 400} == {}
    said = {name: answer.text for name, answer in evidence.refusals.items() if found_in(answer.text)}
    assert said == {}
    assert {answer.json()["error"]["code"] for answer in evidence.refusals.values()} <= REFUSED


def test_another_person_sees_nothing_of_it(evidence: Evidence) -> None:
    assert OTHER and len(evidence.seen_by_other) > 3 * len(TABLE)
    assert {path: answer.text for path, answer in evidence.seen_by_other.items() if found_in(answer.text)} == {}


def test_the_books_hold_what_the_upstream_bills_for_the_answers_that_arrived(evidence: Evidence) -> None:
    lost = {name_of(row) for row in TABLE if row.is_lost}
    arrived = [call for call in evidence.calls if call.fault.partition("=")[0] not in lost]
    billed = (sum(call.billed_input_tokens for call in arrived), sum(call.billed_output_tokens for call in arrived))
    assert evidence.booked == billed
