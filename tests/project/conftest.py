"""What tests of flows share: no Prefect server, and a library with an engine that answers in a blink."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings

from modelshelf.catalog import instances
from modelshelf.library import running
from modelshelf.library.opening import Library
from tests.library.test_launch import with_engine
from tests.making import P


@pytest.fixture(scope="module")
def no_server() -> Iterator[None]:
    """Anything that asks for Prefect's API fails here."""
    with temporary_settings({PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False}):
        yield


@pytest.fixture
def equipped(library: Library, tmp_path: Path) -> Iterator[Library]:
    """Its engines are stopped afterwards."""
    made = with_engine(library, tmp_path)
    yield made
    with made.catalog.reading() as connection:
        for one in instances.page(connection, P):
            running.stop_engine(made, one)
