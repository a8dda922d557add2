"""A till, and a vault, on a fresh database."""

import pytest

from app.database import Database
from tests.spending.till import Till
from tests.worker.vault import Vault


@pytest.fixture
def till(database: Database) -> Till:
    return Till(database)


@pytest.fixture
def vault(database: Database) -> Vault:
    return Vault(database)
