"""What the model says, word for word: by model, by marker, by schema."""

import json

import pytest

from tests.protocol_server.conftest import TOOL, Asker

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 5}}}


def test_a_model_says_what_it_was_told_to_say(asker: Asker) -> None:
    asker.server.answer("Forty-two.", model="oracle")
    assert asker.post("Well?", mode="plain", model="oracle").json()["choices"][0]["message"]["content"] == "Forty-two."
    assert asker.content("Well?", mode="plain") != "Forty-two."


def test_a_marker_goes_before_the_model(asker: Asker) -> None:
    asker.server.answer("by model", model="gpt-4o-mini")
    asker.server.answer("by marker", marker="one")
    assert asker.content("Well? [[answer:one]]", mode="plain") == "by marker"


def test_a_marker_that_nobody_scripted_is_the_answer(asker: Asker) -> None:
    assert asker.content("Well? [[answer:It is raining.]]", mode="plain") == "It is raining."


@pytest.mark.parametrize("mode", ["json_schema", "json_object"])
def test_an_object_is_said_as_json(asker: Asker, mode: str) -> None:
    asker.server.answer({"city": "Wexford"}, model="gpt-4o-mini")
    assert json.loads(asker.content("Where?", mode=mode)) == {"city": "Wexford"}


def test_an_object_is_the_arguments_of_the_tool_and_a_text_is_none(asker: Asker) -> None:
    asker.server.answer({"city": "Wexford"}, marker="call")
    asker.server.answer("No tool needed.", marker="words")
    called, spoken = (asker.post(f"[[answer:{name}]]", mode="tools").json()["choices"][0] for name in ("call", "words"))
    assert json.loads(called["message"]["tool_calls"][0]["function"]["arguments"]) == {"city": "Wexford"}
    assert (spoken["message"]["content"], spoken["finish_reason"]) == ("No tool needed.", "stop")


def test_a_schema_gets_an_instance_of_itself(asker: Asker) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "Place", "schema": SCHEMA}}
    body = {"model": "m", "messages": [{"role": "user", "content": "Where?"}], "response_format": form}
    answer = asker.http.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    assert json.loads(answer) == {"city": "some words", "people": 5}


def test_a_tool_gets_an_instance_of_its_parameters(asker: Asker) -> None:
    tool = {**TOOL, "function": {"name": "Place", "parameters": SCHEMA}}
    body = {"model": "m", "messages": [{"role": "user", "content": "Where?"}], "tools": [tool]}
    call = asker.http.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"city": "some words", "people": 5}


def test_a_schema_that_refers_to_nowhere_is_refused_and_no_call(asker: Asker) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "X", "schema": {"properties": {"a": {"$ref": "#/b"}}}}}
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], "response_format": form}
    response = asker.http.post("/v1/chat/completions", json=body)
    assert (response.status_code, response.json()["error"]["code"], asker.server.calls) == (400, "bad_schema", [])


def test_control_scripts_answers_and_reset_forgets_them(asker: Asker) -> None:
    wish = {"answers": [{"answer": "Rain.", "model": "gpt-4o-mini"}]}
    assert asker.http.post("/control/script", json=wish).status_code == 200
    assert asker.content("a", mode="plain") == "Rain."
    asker.server.reset()
    assert asker.content("a", mode="plain") != "Rain."


@pytest.mark.parametrize(
    "wish", [{"answer": "a"}, {"answer": "a", "model": "m", "marker": "x"}, {"answer": 1, "model": "m"}]
)
def test_an_answer_for_nobody_is_refused(asker: Asker, wish: dict[str, object]) -> None:
    assert asker.http.post("/control/script", json={"answers": [wish]}).status_code == 400
