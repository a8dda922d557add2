"""The vocabularies are loaded before the first test, so that none is measured with it."""

import pytest

from app.context.tokens import tokenizer_of


@pytest.fixture(scope="session", autouse=True)
def _vocabularies() -> None:
    for model in ("gpt-4o", "gpt-4"):
        tokenizer_of(model).count("")
