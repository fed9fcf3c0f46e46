"""An import that is cancelled, and runs of the same work at once: what only a Prefect server showed before, by the flows alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from flows import importing
from flows.launch_instance import launch_instance
from modelshelf.catalog import instances, versions
from modelshelf.catalog.versions import Version
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName
from tasks.library import working_on
from tests.conftest import OUR_THREADS
from tests.making import SMALL, Given, P, bring_in, gguf, ollama_source
from tests.nodes.local import node_of
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.usefixtures("no_server")


@pytest.fixture
def slow(registry: OllamaRegistry) -> OllamaRegistry:
    """A registry whose bodies take their time until `pace` is 0."""
    registry.add_model("library/tiny", "1b", gguf(8_000_000), template="t")
    registry.faults.pace = 0.2
    return registry


def import_flow(registry: OllamaRegistry) -> Coroutine[Any, Any, Any]:
    """The core of every import's flow, not yet begun."""
    return importing.bring_in(
        Given(ollama_source(registry)), name="", project=str(P), category="", allow_code=False, dry_run=False
    )


def leased(library: Library) -> int:
    with library.catalog.reading() as connection:
        return int(connection.execute(text("SELECT count(*) FROM lease")).scalar_one())


def only_version(library: Library) -> Version:
    with library.catalog.reading() as connection:
        (version,) = versions.page(connection, P)
    return version


def test_a_cancelled_import_ends_its_threads_before_its_leases_and_the_next_one_goes_on(
    library: Library, slow: OllamaRegistry
) -> None:
    async def cancelled() -> None:
        flow = asyncio.ensure_future(import_flow(slow))
        while slow.body_bytes < 1_000_000:
            await asyncio.sleep(0.02)
        flow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flow
        assert leased(library) == 0
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith(OUR_THREADS)] == []

    with working_on(replace(library, limits=SMALL), "run-1"):
        asyncio.run(cancelled())
    arriving = [path for path in (library.settings.store / "ingest").iterdir() if path.is_file()]
    assert arriving, "what has arrived is kept"
    assert (only_version(library).state, only_version(library).reason) == ("importing", None)
    slow.faults.pace = 0.0
    whole = sum(content.size for content in slow.blobs.values())
    before = slow.body_bytes
    version, _ = bring_in(library, ollama_source(slow), run="run-2")
    assert version.state == "ready"
    assert slow.body_bytes - before < whole, "it goes on where the first one was"


def test_two_launches_of_one_instance_at_once_start_one_engine(equipped: Library, registry: OllamaRegistry) -> None:
    registry.add_model("library/tiny", "1b", gguf(), template="t")
    version, _ = bring_in(equipped, ollama_source(registry))

    async def both() -> list[str]:
        flows = [launch_instance.fn(model=str(version.ref), instance="chat", engine="llamacpp") for _ in range(2)]
        return list(await asyncio.gather(*flows))

    with working_on(equipped, "test"):
        assert asyncio.run(both()) == ["chat", "chat"]
    with equipped.catalog.reading() as connection:
        found = instances.find(connection, P, InstanceName("chat"))
    assert (found.state, leased(equipped)) == ("ready", 0)
    assert len(node_of(equipped).members(found.label)) == 1
