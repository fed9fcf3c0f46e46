"""Flows called as plain functions: what happens in which order, without a server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flows.clean_stale_versions import clean_stale_versions
from flows.import_folder import import_folder
from modelshelf.catalog import journal, versions
from modelshelf.errors import NothingToImport
from modelshelf.library.opening import Library
from tasks.library import working_on
from tests.making import P, gguf, write

pytestmark = pytest.mark.usefixtures("no_server")


def test_a_plain_call_runs_the_flow_without_a_server(library: Library, tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny" / "tiny.gguf", gguf()).parent
    with working_on(library, "run-1"):
        planned = asyncio.run(import_folder.fn(str(folder), dry_run=True))
        with library.catalog.reading() as connection:
            assert versions.page(connection, P) == [], "a dry run reserves nothing"
        done = asyncio.run(import_folder.fn(str(folder)))
    assert done == planned
    with library.catalog.reading() as connection:
        assert [(str(one.ref), one.state) for one in versions.page(connection, P)] == [(done, "ready")]
        plan = journal.get_plan(connection, "run-1")
    assert plan is not None, "the plan is recorded under the name of the run"
    assert plan["total"] > 100_000


def test_what_a_flow_raises_reaches_its_caller(library: Library, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with working_on(library, "run-1"), pytest.raises(NothingToImport):
        asyncio.run(import_folder.fn(str(tmp_path / "empty")))


def test_a_plan_to_clean_removes_nothing(library: Library, tmp_path: Path) -> None:
    with working_on(library, "run-1"):
        for seed in (1, 2):  # the alias moves to the second
            folder = write(tmp_path / "tiny" / "tiny.gguf", gguf(seed=seed)).parent
            asyncio.run(import_folder.fn(str(folder)))
        assert asyncio.run(clean_stale_versions.fn(keep=0, days=0, dry_run=True)) > 100_000
        with library.catalog.reading() as connection:
            assert len(versions.page(connection, P)) == 2
        assert asyncio.run(clean_stale_versions.fn(keep=0, days=0)) > 100_000
    with library.catalog.reading() as connection:
        assert len(versions.page(connection, P)) == 1
