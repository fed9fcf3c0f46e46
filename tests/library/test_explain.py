"""Each cause for which a model cannot be chosen, or is not visible in an instance, is found and comes with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelshelf.catalog import instances, versions
from modelshelf.catalog.leases import Lease
from modelshelf.catalog.versions import Version
from modelshelf.errors import EngineDied
from modelshelf.library import explaining, naming, running
from modelshelf.library.explaining import Cause
from modelshelf.library.launching.request import LaunchRequest
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName
from tests.library.test_launch import with_engine
from tests.making import P, bring_in, gguf, launch_all, ollama_source
from tests.stand_ins.ollama_registry import OllamaRegistry

CHAT = InstanceName("chat")


@pytest.fixture
def tiny(registry: OllamaRegistry, library: Library, tmp_path: Path) -> Iterator[tuple[Library, Version]]:
    registry.add_model("library/tiny", "1b", gguf(), template="t")
    equipped = with_engine(library, tmp_path)
    version, _ = bring_in(equipped, ollama_source(registry))
    yield equipped, version
    with equipped.catalog.reading() as connection:
        for one in instances.page(connection, P):
            running.stop_engine(equipped, one)


def selectable(library: Library, ref: ModelRef, engine: str | None = None, project: ProjectName = P) -> list[Cause]:
    return explaining.why_not_selectable(library, project, ref, engine)


def visible(library: Library, version: Version) -> list[Cause]:
    return explaining.why_not_visible(library, P, version.ref, CHAT)


def only(causes: list[Cause], because: str, command: str) -> None:
    (cause,) = causes
    assert because in cause.because, cause
    assert command in cause.command, cause


def test_what_can_be_launched_and_is_served_has_no_cause(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    assert selectable(library, version.ref, "llamacpp") == []
    launch_all(library, CHAT, ((version, ServedName("tiny")),))
    assert visible(library, version) == []


def test_there_is_none_or_it_is_private_to_another_project(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    only(selectable(library, ModelRef.parse("nosuch:1b")), "may see no nosuch:1b", "modelshelf import")
    theirs = ModelRef(version.model, version.name, project=P)
    only(selectable(library, theirs, project=ProjectName("other")), "private to another project", "modelshelf list")


def test_its_image_is_not_complete_and_which_run_is_at_it(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    with library.catalog.writing() as connection:
        versions.reopen(connection, P, version, "its content is missing", "test")
    only(selectable(library, version.ref), "failed (its content is missing)", f"modelshelf import {version.source}")
    with library.catalog.writing() as connection:
        versions.set_state(connection, version.id, "importing")
    only(selectable(library, version.ref), "interrupted", "modelshelf import")
    with library.catalog.writing() as connection:
        Lease(version.lease, says="run import tiny").acquire(connection)
    only(selectable(library, version.ref), "run import tiny fetches it", "modelshelf runs")


def test_its_type_differs_from_the_engines(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    only(selectable(library, version.ref, "vllm"), "vllm does not serve ollama", "--engine llamacpp")


def test_it_is_disabled(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    naming.mark(library, P, version.ref, who="test", disabled=True)
    only(selectable(library, version.ref), "is disabled", "modelshelf enable")


def test_it_is_replaced_by_what_its_tag_means_now(tiny: tuple[Library, Version], registry: OllamaRegistry) -> None:
    library, version = tiny
    registry.add_model("library/tiny", "1b", gguf(seed=9), template="t")
    newer, _ = bring_in(library, ollama_source(registry))
    only(selectable(library, version.ref), f"means {newer.name}", f"modelshelf launch {newer.ref}")
    assert selectable(library, newer.ref) == []


def test_the_template_does_not_contain_it_or_the_instance_was_launched_before(
    tiny: tuple[Library, Version], registry: OllamaRegistry
) -> None:
    library, version = tiny
    launch_all(library, CHAT, ((version, ServedName("tiny")),))
    registry.add_model("library/tiny", "1b", gguf(seed=9), template="t")
    newer, _ = bring_in(library, ollama_source(registry))
    only(visible(library, newer), f"was launched with {version.ref}", f"modelshelf switch chat {newer.ref}")
    registry.add_model("library/other", "1b", gguf(seed=8), template="t")
    other, _ = bring_in(library, ollama_source(registry, "library/other:1b"))
    only(visible(library, other), "does not contain it", f"modelshelf launch {other.ref}")


def test_its_mount_is_missing_or_points_elsewhere(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    launch_all(library, CHAT, ((version, ServedName("tiny")),))
    assert version.image is not None
    weights = next(library.node.files_of(version.image).glob("blobs/*"))
    weights.unlink()
    weights.write_bytes(b"something else")
    only(visible(library, version), "missing or not what was laid out", "modelshelf cache")


def test_the_engine_is_still_starting(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    made = launch_all(library, CHAT, ((version, ServedName("tiny")),))
    with library.catalog.writing() as connection:
        instances.change(connection, made.id, state="starting")
    only(visible(library, version), "its launch was interrupted", "modelshelf restart chat")
    with library.catalog.writing() as connection:
        Lease(made.lease, says="run launch chat").acquire(connection)
    only(visible(library, version), "still starting", "modelshelf logs chat")


def test_it_ran_out_of_memory(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    with pytest.raises(EngineDied):
        launch_all(library, CHAT, ((version, ServedName("tiny")),), LaunchRequest(arguments=("--say", "die")))
    only(visible(library, version), "ran out of memory", "--memory")


def test_it_is_stopped(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    launch_all(library, CHAT, ((version, ServedName("tiny")),))
    running.stop_instance(library, P, CHAT, "test")
    only(visible(library, version), "is stopped", "modelshelf restart chat")


def test_the_engine_lists_another_name_or_digest(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    made = launch_all(library, CHAT, ((version, ServedName("tiny")),))
    with library.catalog.writing() as connection:
        from sqlalchemy import text

        connection.execute(text("UPDATE template_model SET served_name = 'renamed'"))
    assert made.state == "ready"
    only(visible(library, version), "lists tiny and not renamed", "modelshelf restart chat")
