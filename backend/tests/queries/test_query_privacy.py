"""Who gets to see a question: a model at home and one in the cloud, each a server that keeps its own log."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from app.config import LLMSettings
from app.database import new_id
from app.migrations import migrate
from tests.conftest import Json, code_of, make_settings, served
from tests.engines import fresh_database
from tests.protocol_server.server import ProtocolServer, running_server
from tests.queries.conftest import ASKED, QUERY
from tests.server_process import query

HOME, CLOUD = "home/gpt-4o-mini", "cloud/gpt-4o"
API = "/api/v1"
MESSAGES: Json = {"messages": [{"role": "user", "content": "Where does the heron sleep?"}]}
SCHEMA: Json = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CHAT = "/v1/chat/completions"
WAYS: dict[str, tuple[str, Json]] = {
    "prompt": (API + QUERY, ASKED),
    "messages": (API + QUERY, MESSAGES),
    "structured": (API + QUERY, {**ASKED, "jsonSchema": SCHEMA}),
    "stream": (f"{API}{QUERY}/stream", ASKED),
    "chat": (CHAT, {**MESSAGES, "model": "task:chat"}),
    "chat stream": (CHAT, {**MESSAGES, "model": "task:chat", "stream": True}),
    "by name": (API + QUERY, {**ASKED, "model": CLOUD, "fallbackModels": [HOME]}),
    "chat by name": (CHAT, {**MESSAGES, "model": CLOUD, "fallback_models": [HOME]}),
}
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class House:
    """Our server, which knows both; the cloud is the fallback, and answers everything."""

    url: str
    database_url: str
    home: ProtocolServer
    cloud: ProtocolServer


class Person:
    """Nobody has met them before."""

    def __init__(self, house: House) -> None:
        self.http = httpx.Client(base_url=house.url, headers={"X-Dev-User-Id": new_id()}, timeout=30)

    def prefers(self, privacy: str) -> None:
        answer = self.http.patch(f"{API}/auth/me/preferences", json={"defaultPrivacy": privacy})
        assert answer.status_code == 200

    def asks(self, way: str, **changes: Any) -> httpx.Response:
        path, body = WAYS[way]
        return self.http.post(path, json={**body, **changes})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    rules = folder / "routing.yaml"
    rules.write_text("tasks: {enrichment: {}, query: {cache_seconds: 600}, chat: {cache_seconds: 600}}\n")
    llm = LLMSettings(
        _env_file=None,
        provider="litellm",
        model=HOME,
        fallback_models=[CLOUD],
        allowed_hosts=["127.0.0.1"],
        routing_file=rules,
        circuit_faults=1000,
        structured_mode="json_schema",
    )
    for database_url in fresh_database(migrate):
        settings = make_settings(database_url, folder, llm=llm, worker_enabled=True)
        with running_server() as home, running_server() as cloud, served(settings) as url:
            house = House(url, database_url, home, cloud)
            with Person(house).http as admin:
                for name, server in (("home", home), ("cloud", cloud)):
                    entry: Json = {"name": name, "kind": "openai_compatible", "baseUrl": server.base_url}
                    entry |= {"isLocal": server is home, "healthCheck": "none"}
                    assert admin.post(f"{API}/llm/providers", json=entry).status_code == 201
            yield house


@pytest.fixture
def house(built: House) -> House:
    for server in (built.home, built.cloud):
        server.reset()
    return built


@pytest.fixture
def someone(house: House) -> Iterator[Callable[[], Person]]:
    people: list[Person] = []

    def come() -> Person:
        people.append(Person(house))
        return people[-1]

    yield come
    for person in people:
        person.http.close()


@pytest.fixture
def person(someone: Callable[[], Person]) -> Person:
    return someone()


@pytest.mark.parametrize("way", WAYS)
def test_the_default_keeps_a_question_from_the_cloud(house: House, person: Person, way: str) -> None:
    person.prefers("local_only")
    answer = person.asks(way)
    assert answer.status_code == 200, answer.text
    assert house.home.calls != [] and house.cloud.calls == []


@pytest.mark.parametrize("way", WAYS)
def test_nor_does_it_leave_when_home_fails(house: House, person: Person, way: str) -> None:
    person.prefers("local_only")
    house.home.set_default("500")
    assert person.asks(way).status_code == 502
    assert house.home.calls != [] and house.cloud.calls == []


@pytest.mark.parametrize("way", WAYS)
def test_a_question_that_nobody_may_see_is_refused_and_sent_to_nobody(house: House, person: Person, way: str) -> None:
    person.prefers("none")
    answer = person.asks(way)
    assert answer.status_code == 422 and code_of(answer).upper() == "LLM_PRIVATE_TEXT"
    assert house.home.calls == house.cloud.calls == []


@pytest.mark.parametrize("way", ["prompt", "stream", "chat"])
def test_without_a_preference_the_cloud_may_stand_in(house: House, person: Person, way: str) -> None:
    house.home.set_default("500")
    assert person.asks(way).status_code == 200
    assert len(house.cloud.calls) == 1


@pytest.mark.parametrize("way", ["prompt", "stream"])
def test_what_the_question_says_holds_against_the_default(house: House, person: Person, way: str) -> None:
    house.home.set_default("500")
    person.prefers("none")
    assert person.asks(way, privacy="any").status_code == 200
    person.prefers("any")
    assert person.asks(way, privacy="local_only").status_code == 502
    assert len(house.cloud.calls) == 1


def test_null_says_nothing(house: House, person: Person) -> None:
    person.prefers("local_only")
    assert person.asks("prompt", privacy=None).status_code == 200
    assert house.cloud.calls == []


@pytest.mark.parametrize("way", ["prompt", "stream"])
def test_a_question_is_stored_with_the_privacy_of_when_it_was_asked(house: House, person: Person, way: str) -> None:
    """Should the process die, the lane asks anew: whatever the default is by then."""
    person.prefers("local_only")
    assert person.asks(way).status_code == 200
    newest = "SELECT request FROM queries ORDER BY created_at DESC LIMIT 1"
    [(request,)] = query(house.database_url, newest)
    assert "local_only" in str(request)


def test_the_same_key_and_body_are_one_query_whatever_the_default_is_by_then(house: House, person: Person) -> None:
    person.http.headers["Idempotency-Key"] = "once"
    person.prefers("local_only")
    first = person.asks("prompt")
    person.prefers("any")
    again = person.asks("prompt")
    assert first.json() == again.json() and again.headers["Idempotency-Replayed"] == "true"


def test_the_default_of_one_person_is_not_another_s(someone: Callable[[], Person]) -> None:
    someone().prefers("none")
    assert someone().asks("prompt").status_code == someone().asks("chat").status_code == 200


def test_an_answer_of_the_cloud_is_not_given_again_to_a_private_question(house: House, person: Person) -> None:
    house.home.set_default("500")
    assert person.asks("chat").json()["model"] == CLOUD
    person.prefers("local_only")
    assert person.asks("chat").status_code == 502
    assert len(house.cloud.calls) == 1
