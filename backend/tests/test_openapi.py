"""The OpenAPI document is true: it is valid, it declares what the server does, and a fuzzer finds nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app.config import Settings
from app.main import create_app
from tests.conftest import API, AsUser, served

EXAMPLES = os.environ.get("LITEVAULT_TEST_FUZZ_EXAMPLES", "10")
SEED = os.environ.get("LITEVAULT_TEST_FUZZ_SEED", "20260101")
# 400 is for what no schema can say: a blank text, an unknown id, a cursor of another making. How the parts of a
# prompt's template, or of a question to a model, fit together is 422, like the rest of its form. `ignored_auth` is left
# out: in development every name is a person, so none is invalid; that a name is needed is tested below.
CONFIG = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "404", "409"]

[[operations]]
include-path-regex = "^(/api/v1/llm/(prompts|query)|/v1/)"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "404", "409", "422"]
"""


@pytest.fixture
def document(settings: Settings) -> dict[str, Any]:
    return create_app(settings).openapi()


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path.startswith(API) and "health" not in operation["tags"]
    }


def test_every_route_needs_a_caller_and_says_how(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} >= {"apiKey"}
    for key, operation in operations(document).items():
        assert {name for choice in operation["security"] for name in choice} <= set(schemes), key


def test_every_error_is_declared_in_the_envelope(document: dict[str, Any]) -> None:
    for key, operation in operations(document).items():
        assert {"401", "422", "500", "503"} <= set(operation["responses"]), key
        for status, answer in operation["responses"].items():
            if status >= "400":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorEnvelope"}, (key, status)


def test_every_operation_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(names) == len(set(names))


async def test_every_operation_refuses_a_caller_without_a_name(app: FastAPI, as_user: AsUser) -> None:
    for method, path in operations(app.openapi()):
        answer = await as_user().request(method, path.replace("{", "").replace("}", "").removeprefix(API), json={})
        assert answer.status_code == 401, (method, path)


# In parts, each well under a test's time limit.
ITEMS, MANAGED = f"^{API}/(items|library|search|tags)", f"^{API}/llm/(providers|prompts)"
PARTS = {
    "items": ("--include-path-regex", ITEMS),
    "providers and prompts": ("--include-path-regex", MANAGED),
    "all others": ("--exclude-path-regex", f"{ITEMS}|{MANAGED}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_fuzzer_finds_no_5xx_and_no_undeclared_answer(settings: Settings, tmp_path: Path, part: str) -> None:
    # With a worker, or each query would be waited for in vain.
    with served(settings.model_copy(update={"worker_enabled": True})) as server_url:
        _fuzz(server_url, tmp_path, PARTS[part])


def _fuzz(server_url: str, tmp_path: Path, part: tuple[str, str]) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server_url}/openapi.json"),
        *("--header", "X-Dev-User-Id: fuzzer", "--seed", SEED, "--checks", "all", "--exclude-checks", "ignored_auth"),
        *("--max-examples", EXAMPLES, "--exclude-path", f"{API}/items/events", "--no-color", *part),
    ]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert run.returncode == 0, f"seed {SEED}\n{run.stdout[-12_000:]}\n{run.stderr[-2_000:]}"


def test_the_document_can_be_written_as_json(document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(document)) == document
