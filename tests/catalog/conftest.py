"""One suite for both databases: SQLite always, PostgreSQL where its programs are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelshelf.catalog.database import Catalog
from tests.conftest import missing
from tests.stand_ins import postgres


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of our own on a free loopback port, gone with the session."""
    if (programs := postgres.programs()) is None:
        missing("PostgreSQL")
    assert programs is not None
    with postgres.server(programs, tmp_path_factory.mktemp("postgres")) as url:
        yield url


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
