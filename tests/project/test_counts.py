"""What an import and a launch ask of the catalog and of the publisher: bounds, so that nobody asks twice what is known."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from blocks.ollama_registry import OllamaRegistry as Block
from flows.importing import bring_in
from flows.launch_instance import launch_instance
from modelshelf.catalog import instances
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName
from modelshelf.sources.contract import Source
from modelshelf.sources.uri import OllamaName, OllamaUri
from tasks.library import working_on
from tasks.sources import OllamaOrigin, opened_once, source_of
from tests.counting import asked_of_the_catalog
from tests.making import P, gguf
from tests.stand_ins.ollama_registry import OllamaRegistry


@dataclass(frozen=True)
class OverHttp(OllamaOrigin):
    """A registry of this machine, as its login says it."""

    async def open(self) -> Source:
        return Block(plain_http=True).open(self.uri)


pytestmark = pytest.mark.usefixtures("no_server")


def publish(registry: OllamaRegistry, seed: int = 1) -> None:
    """A model of three layers, behind tokens."""
    registry.add_model("library/tiny", "1b", gguf(seed=seed), template="t", params="{}")
    registry.token = "token-0"


def run(library: Library, work: Coroutine[Any, Any, Any]) -> Any:
    with working_on(library, "test"):
        return asyncio.run(work)


def import_tiny(library: Library, registry: OllamaRegistry) -> None:
    origin = OverHttp(OllamaUri(OllamaName.parse(f"{registry.host}/library/tiny:1b")))
    run(library, bring_in(origin, name="", project="default", category="", allow_code=False, dry_run=False))


def before_the_first_blob(registry: OllamaRegistry) -> list[str]:
    paths = [path for _, path, _ in registry.requests]
    first = next(number for number, path in enumerate(paths) if re.search("/blobs/", path))
    return paths[:first]


def test_an_import_asks_once_for_the_manifest_and_once_for_a_token(library: Library, registry: OllamaRegistry) -> None:
    publish(registry)
    import_tiny(library, registry)
    asked = before_the_first_blob(registry)
    assert [path.rpartition("?")[0] or path for path in asked] == [
        "/v2/library/tiny/manifests/1b",  # answered with where tokens are from
        "/token",
        "/v2/library/tiny/manifests/1b",
    ]
    assert sum("/token" in path for _, path, _ in registry.requests) == 1


def test_each_run_opens_its_source_once_and_none_has_anothers(library: Library, registry: OllamaRegistry) -> None:
    origin = OverHttp(OllamaUri(OllamaName.parse(f"{registry.host}/library/tiny:1b")))

    async def one_run() -> tuple[Source, Source]:
        with opened_once():
            first = await source_of(origin)
            await asyncio.sleep(0)  # the other run goes on
            return first, await source_of(origin)

    async def two_runs() -> list[tuple[Source, Source]]:
        return list(await asyncio.gather(one_run(), one_run()))

    one, other = run(library, two_runs())
    assert one[0] is one[1]
    assert other[0] is other[1]
    assert one[0] is not other[0], "a login that was changed between two runs is used"


def test_an_import_asks_the_catalog_little(library: Library, registry: OllamaRegistry) -> None:
    publish(registry)
    with asked_of_the_catalog() as asked:
        import_tiny(library, registry)
    assert (len(asked), asked.transactions) <= (27, 7)


def test_an_import_of_what_is_there_asks_the_catalog_little(library: Library, registry: OllamaRegistry) -> None:
    publish(registry)
    import_tiny(library, registry)
    with asked_of_the_catalog() as asked:
        import_tiny(library, registry)
    assert len(asked) <= 20


def test_a_cached_launch_asks_the_catalog_little(equipped: Library, registry: OllamaRegistry) -> None:
    publish(registry)
    import_tiny(equipped, registry)
    launch = launch_instance.fn
    run(equipped, launch(model="tiny", instance="first", engine="llamacpp"))
    with asked_of_the_catalog() as asked:
        run(equipped, launch(model="tiny", instance="second", engine="llamacpp"))
    assert (len(asked), asked.transactions) <= (29, 7)
    with equipped.catalog.reading() as connection:
        assert instances.find(connection, P, InstanceName("second")).state == "ready"
