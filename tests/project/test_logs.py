"""Which version a line of a run's log is about."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from flows.import_folder import import_folder
from modelshelf.library.opening import Library
from tasks.library import working_on
from tests.making import gguf, write

pytestmark = pytest.mark.usefixtures("no_server")


def test_two_imports_at_once_in_one_process_each_log_their_own_version(
    library: Library, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [write(tmp_path / name / "model.gguf", gguf(seed=seed)).parent for seed, name in enumerate(("first", "second"))]

    async def both() -> list[str]:
        return await asyncio.gather(*(import_folder.fn(str(folder)) for folder in folders))

    caplog.set_level(logging.INFO, "modelshelf")
    with working_on(library, "test"):
        imported = asyncio.run(both())
    published = {
        getattr(record, "version", ""): record.getMessage() for record in caplog.records if "Published" in record.getMessage()
    }
    assert set(published) == set(imported)
    for version, line in published.items():
        assert line.startswith(f"Published {version}: ")
