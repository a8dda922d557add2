"""A till on a fresh database."""

import pytest

from app.database import Database
from tests.spending.till import Till


@pytest.fixture
def till(database: Database) -> Till:
    return Till(database)
