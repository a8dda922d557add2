"""Models on both wires, and the conveniences of local servers."""

from tests.protocol_server.conftest import Asker

ANTHROPIC = {"anthropic-version": "2023-06-01"}


def test_the_models_are_those_that_the_test_says(asker: Asker) -> None:
    asker.server.offer.models = ["tiny", "large"]
    openai = asker.http.get("/v1/models").json()
    anthropic = asker.http.get("/v1/models", headers=ANTHROPIC).json()
    ollama = asker.http.get("/api/tags").json()
    assert [model["id"] for model in openai["data"]] == ["tiny", "large"]
    assert [(model["type"], model["id"]) for model in anthropic["data"]] == [("model", "tiny"), ("model", "large")]
    assert (anthropic["first_id"], anthropic["last_id"]) == ("tiny", "large")
    assert [model["name"] for model in ollama["models"]] == ["tiny", "large"]


def test_a_local_server_tells_its_window_and_counts_a_text(asker: Asker) -> None:
    asker.http.post("/control/script", json={"context_tokens": 512})
    assert asker.http.get("/props").json()["default_generation_settings"]["n_ctx"] == 512
    assert len(asker.http.post("/tokenize", json={"content": "x" * 41}).json()["tokens"]) == 11


def test_it_can_tell_its_window_in_ollama_s_way_or_in_none(asker: Asker) -> None:
    asker.server.offer.speaks, asker.server.offer.context_tokens = "ollama", 512
    shown = asker.http.post("/api/show", json={"model": "tiny"}).json()
    assert shown["parameters"].split() == ["num_ctx", "512"] and shown["model_info"]["llama.context_length"] == 4096
    assert asker.http.get("/api/ps").json() == {"models": []} and asker.http.get("/props").status_code == 404
    asker.server.offer.speaks = ""
    assert asker.http.post("/api/show", json={"model": "tiny"}).status_code == 404


def test_what_is_no_text_is_not_counted(asker: Asker) -> None:
    assert asker.http.post("/tokenize", json={"content": 1}).status_code == 400


def test_listings_are_counted_and_are_no_calls(asker: Asker) -> None:
    asker.http.get("/v1/models")
    assert (asker.server.stats()["listings"], asker.server.calls) == (1, [])
    asker.server.reset()
    assert asker.server.stats()["listings"] == 0
