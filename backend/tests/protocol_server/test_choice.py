"""Which call gets which fault: scripts, markers, the mix, and their order."""

import threading

import pytest

from tests.protocol_server.answers import digest_of
from tests.protocol_server.choice import Mix
from tests.protocol_server.conftest import Asker
from tests.protocol_server.faults.table import UnknownFaultError
from tests.protocol_server.server import ProtocolServer


def statuses(asker: Asker, *texts: str, model: str = "gpt-4o-mini") -> list[int]:
    return [asker.post(text, model=model).status_code for text in texts]


def test_a_script_is_used_up_in_order_then_the_default_counts(asker: Asker) -> None:
    asker.server.script("500", "ok", "503")
    asker.server.set_default("404")
    assert statuses(asker, *"abcd") == [500, 200, 503, 404]


def test_a_model_has_its_own_script(asker: Asker) -> None:
    asker.server.script("500", "500", model="weak")
    asker.server.script("429")
    assert statuses(asker, "a", model="weak") == [500]
    assert statuses(asker, "a", "b", model="strong") == [429, 200]
    assert statuses(asker, "b", "c", model="weak") == [500, 200]


def test_a_script_with_an_unknown_fault_is_refused_whole(asker: Asker) -> None:
    with pytest.raises(UnknownFaultError):
        asker.server.script("500", "nonsense")
    assert statuses(asker, "a") == [200]


def test_a_marker_chooses_for_each_text_apart_and_its_last_fault_stays(asker: Asker) -> None:
    one, two = "one [[fault:500,429_retry_after=2,ok]]", "two [[fault:500,ok,503]]"
    assert statuses(asker, one, two, one, two, one, two, one, two) == [500, 500, 429, 200, 200, 503, 200, 503]


def test_a_marker_goes_before_the_script_and_leaves_it_alone(asker: Asker) -> None:
    asker.server.script("500")
    assert statuses(asker, "a [[fault:404]]", "b") == [404, 500]


def test_a_marker_in_an_earlier_message_counts_for_a_re_ask(asker: Asker) -> None:
    note = {"role": "user", "content": "a [[fault:tags_2,503]]"}
    re_ask = {"role": "user", "content": "Correct your answer."}
    answers = [
        asker.http.post("/v1/chat/completions", json={"model": "m", "messages": messages})
        for messages in ([note], [note, re_ask])
    ]
    first, second = asker.server.calls
    assert answers[1].status_code == 503
    assert first.first_text_sha256 == second.first_text_sha256 == first.text_sha256
    assert second.text_sha256 == digest_of("Correct your answer.")


def test_a_marker_off_the_table_is_an_error_that_says_so(asker: Asker) -> None:
    response = asker.post("a [[fault:nonsense]]")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unknown_fault")
    assert asker.server.calls == []


def test_the_mix_keeps_its_rate_and_weights() -> None:
    mix = Mix(rate=0.3, seed=7, weights={"500": 3, "reset": 1})
    drawn = [mix.draw(digest_of(str(number)), 0) for number in range(4000)]
    assert 0.27 < sum(fault is not None for fault in drawn) / 4000 < 0.33
    assert 0.7 < drawn.count("500") / (drawn.count("500") + drawn.count("reset")) < 0.8


def test_a_seed_gives_the_same_fate_to_a_text_in_any_order(server: ProtocolServer, asker: Asker) -> None:
    texts = [f"note {number}" for number in range(40)]
    fates = []
    for ordered in (texts, texts[::-1]):
        server.reset()
        server.set_mix(Mix(rate=0.5, seed=3, weights={"500": 1}))
        fates.append(dict(zip(ordered, statuses(asker, *ordered), strict=True)))
    assert fates[0] == fates[1]
    assert set(fates[0].values()) == {200, 500}


def test_streams_draw_from_weights_of_their_own(asker: Asker) -> None:
    asker.server.set_mix(Mix(rate=1, weights={"500": 1}, stream_weights={"stream_empty": 1}))
    asker.post("a")
    asker.stream("a")
    assert [call.fault for call in asker.server.calls] == ["500", "stream_empty"]


def test_a_mix_with_an_unknown_fault_is_refused() -> None:
    with pytest.raises(UnknownFaultError):
        Mix(rate=1, stream_weights={"nonsense": 1})


def test_a_text_that_fails_by_the_mix_gets_through_in_the_end() -> None:
    mix = Mix(rate=0.5, seed=1)
    assert any(mix.draw(digest_of("a"), nth) is None for nth in range(20))


def test_reset_forgets_scripts_calls_and_the_default(asker: Asker) -> None:
    asker.server.script("500")
    asker.server.set_default("404")
    asker.post("a")
    asker.server.reset()
    assert (asker.server.calls, statuses(asker, "a")) == ([], [200])


def test_a_script_written_from_many_threads_loses_nothing(server: ProtocolServer) -> None:
    threads = [threading.Thread(target=server.script, args=("500",) * 50) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.stats()["script_left"] == 400
