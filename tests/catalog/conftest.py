"""One suite for both databases: SQLite always, PostgreSQL where its programs are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelshelf.catalog.database import Catalog
from tests.stand_ins import postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.live)])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog of the newest shape."""
    if request.param == "sqlite":
        made = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    else:
        made = Catalog(postgres.new_database(request.getfixturevalue("postgres_server")))
    made.migrate()
    yield made
    made.close()
