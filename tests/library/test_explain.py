"""Each cause for which a model cannot be chosen, or is not visible in an instance, is found and comes with its remedy."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.register_filesystem import register_filesystem
from modelshelf.catalog import instances, journal, versions
from modelshelf.catalog.leases import Lease
from modelshelf.catalog.versions import Version
from modelshelf.cli import follow
from modelshelf.cli import instances as commands
from modelshelf.cli.main import cli
from modelshelf.errors import EngineDied
from modelshelf.library import explaining, naming, running
from modelshelf.library.explaining import Cause
from modelshelf.library.launching.request import LaunchRequest
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName
from modelshelf.settings import Filesystem
from tasks.library import working_on
from tests.library.test_launch import with_engine
from tests.making import P, bring_in, gguf, hub_source, launch_all, ollama_source, safetensors, write
from tests.nodes.local import handled, log_file, with_settings
from tests.nodes.test_memory import with_cgroup
from tests.stand_ins.hub import Hub
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


def did(library: Library, causes: list[Cause]) -> None:
    """Type the command that the cause names."""
    (cause,) = causes
    typed(library, cause.command)


def typed(library: Library, command: str) -> str:
    """Type a command, and return what it prints; what it would ask of a server, its flow does here."""

    def run(deployment: str, parameters: dict[str, Any], **_options: Any) -> dict[str, Any]:
        name = deployment.partition("/")[0].replace("-", "_")
        with working_on(library, "typed"):
            asyncio.run(getattr(import_module(f"flows.{name}"), name).fn(**parameters))
        with library.catalog.reading() as connection:
            return {"run": "typed", **(journal.get_plan(connection, "typed") or {})}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow, "run", run)
        done = CliRunner().invoke(cli, shlex.split(command.removeprefix("modelshelf ")))
    assert done.exit_code == 0, (command, done.output, done.exception)
    return done.stdout


def test_an_engine_that_is_missing_is_a_cause_with_or_without_its_name(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    without = with_settings(library, llamacpp_server="/nowhere/llama-server")
    (named,) = selectable(without, version.ref, "llamacpp")
    assert "cannot be executed" in named.because
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        only(selectable(without, version.ref), "is not installed", "Install Ollama from ollama.com")
        only(selectable(without, version.ref, "vllm"), "vllm serves safetensors", "Install Ollama from ollama.com")


def test_an_engine_that_misses_is_answered_with_one_that_is_there(hub: Hub, library: Library, tmp_path: Path) -> None:
    hub.repo("org/m").commit({"config.json": b"{}", "model.safetensors": safetensors()})
    version, _ = bring_in(library, hub_source(hub, "org/m"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        only(selectable(library, version.ref), "The engine vllm is not installed", "pip install vllm")
        only(selectable(library, version.ref, "llamacpp"), "is safetensors", "pip install vllm")
        assert explaining.how_to_serve(library, P, version) == selectable(library, version.ref)[0]


def test_how_to_serve_is_a_command_that_works(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nowhere")  # no Ollama: llama.cpp serves it
        how = explaining.how_to_serve(library, P, version)
        assert how == Cause("", f"modelshelf launch {version.ref}", hinders=False)
        did(library, [how])
    assert "modelshelf launch default/tiny" not in how.command
    theirs = explaining.how_to_serve(library, ProjectName("team"), version)
    assert theirs is not None
    assert theirs.command.endswith("--project team")


def test_what_an_import_prints_to_serve_it_works(library: Library, tmp_path: Path) -> None:
    equipped = with_engine(library, tmp_path)
    write(tmp_path / "in" / "mine.gguf", gguf())
    printed = typed(equipped, f"modelshelf import {tmp_path}/in --name mine --project team")
    command = printed.partition("Serve it: ")[2].strip()
    assert "--project team" in command
    typed(equipped, command)
    with equipped.catalog.reading() as connection:
        (made,) = instances.page(connection, ProjectName("team"))
    assert made.state == "ready"
    running.stop_engine(equipped, made)
    write(tmp_path / "tensors" / "model.safetensors", safetensors())
    write(tmp_path / "tensors" / "config.json", b"{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        printed = typed(equipped, f"modelshelf import {tmp_path}/tensors --name tensors")
    assert "Serve it" not in printed
    assert "pip install vllm" in printed


def test_another_region_is_answered_with_a_copy(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "mnt/models/mine/model.gguf", gguf())
    filesystems = {"shared": Filesystem(tmp_path / "mnt", "local")}
    here = replace(with_engine(library, tmp_path), settings=replace(library.settings, filesystems=filesystems))
    with working_on(here, "test"):
        asyncio.run(register_filesystem.fn("shared", "models/mine"))
    away = replace(here, store_at=replace(here.store_at, region="elsewhere"), node_at=replace(here.node_at, region="elsewhere"))
    (cause, *_) = selectable(away, ModelRef.parse("mine"))
    assert "this machine is in elsewhere" in cause.because
    did(away, [cause])
    assert [one for one in selectable(away, ModelRef.parse("mine-copy")) if one.hinders] == []


def test_what_can_be_launched_and_is_served_has_no_cause(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    assert selectable(library, version.ref, "llamacpp") == []
    launch_all(library, CHAT, ((version, ServedName("tiny")),))
    assert visible(library, version) == []


def test_there_is_none_or_it_is_private_to_another_project(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    only(selectable(library, ModelRef.parse("nosuch:1b")), "can see no nosuch:1b", "modelshelf import")
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
    only(selectable(library, version.ref), "run import tiny is fetching it", "modelshelf runs")


def test_its_type_differs_from_the_engines(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    only(selectable(library, version.ref, "vllm"), "vllm serves safetensors: tiny", "--engine ")


def test_it_is_disabled(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    naming.mark(library, P, version.ref, who="test", disabled=True)
    only(selectable(library, version.ref), "is disabled", "modelshelf enable")
    did(library, selectable(library, version.ref))
    assert selectable(library, version.ref) == []


def test_it_is_replaced_by_what_its_tag_means_now(tiny: tuple[Library, Version], registry: OllamaRegistry) -> None:
    library, version = tiny
    registry.add_model("library/tiny", "1b", gguf(seed=9), template="t")
    newer, _ = bring_in(library, ollama_source(registry))
    (note,) = selectable(library, version.ref, "llamacpp")
    assert not note.hinders, "it can be launched"
    only([note], f"now names {newer.name}", f"modelshelf launch {newer.ref}")
    assert selectable(library, newer.ref) == []


def test_the_template_does_not_contain_it_or_the_instance_was_launched_before(
    tiny: tuple[Library, Version], registry: OllamaRegistry
) -> None:
    library, version = tiny
    launch_all(library, CHAT, ((version, ServedName("tiny")),))
    registry.add_model("library/tiny", "1b", gguf(seed=9), template="t")
    newer, _ = bring_in(library, ollama_source(registry))
    only(visible(library, newer), f"serves {version.ref}, another version", f"modelshelf switch chat {newer.ref}")
    registry.add_model("library/other", "1b", gguf(seed=8), template="t")
    other, _ = bring_in(library, ollama_source(registry, "library/other:1b"))
    only(visible(library, other), "does not include it", f"modelshelf launch {other.ref}")


def test_its_mount_is_missing_or_points_elsewhere(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    launch_all(library, CHAT, ((version, ServedName("tiny")),))
    assert version.image is not None
    weights = next(library.node.replicas.files_of(version.image).glob("blobs/*"))
    weights.unlink()
    weights.write_bytes(b"something else")
    only(visible(library, version), "missing or have changed", "modelshelf restart chat")
    did(library, visible(library, version))
    assert visible(library, version) == []


def test_the_engine_is_still_starting(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    made = launch_all(library, CHAT, ((version, ServedName("tiny")),))
    with library.catalog.writing() as connection:
        instances.change(connection, made.id, state="starting")
    only(visible(library, version), "its launch was interrupted", "modelshelf restart chat")
    with library.catalog.writing() as connection:
        Lease(made.lease, says="run launch chat").acquire(connection)
    only(visible(library, version), "still starting", "modelshelf logs chat")


def test_it_ran_out_of_memory(tiny: tuple[Library, Version], tmp_path: Path) -> None:
    library, version = with_cgroup(tiny[0], tmp_path / "cgroup"), tiny[1]
    serves = ((version, ServedName("tiny")),)
    with pytest.raises(EngineDied):
        launch_all(library, CHAT, serves, LaunchRequest(arguments=("--say", "die")))
    only(visible(library, version), "ran out of memory", "stop instances that are not needed")
    with pytest.raises(EngineDied):
        launch_all(library, CHAT, serves, LaunchRequest(arguments=("--say", "die"), memory=1 << 30))
    only(visible(library, version), "ran out of memory", f"modelshelf launch {version.ref} --as chat --memory 2.1GB")
    with library.catalog.writing() as connection:  # what failed for want of room elsewhere did not run out of memory
        made = instances.find(connection, P, CHAT)
        instances.change(connection, made.id, reason="There is no room for its files.")
    log_file(library, made).unlink()
    only(visible(library, version), "is failed: There is no room", "modelshelf restart chat")


def test_it_is_stopped(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    launch_all(library, CHAT, ((version, ServedName("tiny")),))
    running.stop_instance(library, P, CHAT, "test")
    only(visible(library, version), "is stopped", "modelshelf restart chat")
    did(library, visible(library, version))
    assert visible(library, version) == []


def test_the_engine_lists_another_name_or_digest(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    made = launch_all(library, CHAT, ((version, ServedName("tiny")),))
    with library.catalog.writing() as connection:
        from sqlalchemy import text

        connection.execute(text("UPDATE template_model SET served_name = 'renamed'"))
    assert made.state == "ready"
    (cause,) = visible(library, version)
    assert "stopped" not in cause.because, "it serves"
    only([cause], "lists tiny, expected renamed", "modelshelf restart chat")
    did(library, [cause])
    assert visible(library, version) == []


def test_an_engine_that_hangs_is_waited_for_some_seconds_and_named_for_that(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    made = launch_all(library, CHAT, ((version, ServedName("tiny")),))
    process = handled(made.handle)
    brief = replace(library, limits=replace(library.limits, engine_look_seconds=1))
    os.kill(process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        only(visible(brief, version), "the engine runs and did not answer within 1 s", "modelshelf restart chat")
        assert time.monotonic() - began < 4
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert library.limits.engine_look_seconds == 5


@pytest.mark.parametrize("stored", [True, False, None])
def test_a_key_that_is_not_stored_any_more_is_found(tiny: tuple[Library, Version], stored: bool | None) -> None:
    library, version = tiny
    launch_all(library, CHAT, ((version, ServedName("tiny")),), LaunchRequest(key_block="door"), key="the-key")
    asked: list[str] = []

    def has_key(name: str) -> bool | None:
        asked.append(name)
        return stored

    found = explaining.why_not_visible(library, P, version.ref, CHAT, has_key)
    assert asked == ["door"]
    assert [cause for cause in found if cause.hinders] == [], "it serves"
    running.stop_instance(library, P, CHAT, "test")
    found = explaining.why_not_visible(library, P, version.ref, CHAT, has_key)
    _keyed(found, stored)


@pytest.mark.parametrize("stored", [True, False, None])
def test_a_launch_that_needs_a_former_key_is_explained_with_it(tiny: tuple[Library, Version], stored: bool | None) -> None:
    library, version = tiny
    name = InstanceName(version.model.text)
    launch_all(library, name, ((version, ServedName("tiny")),), LaunchRequest(key_block="door"), key="the-key")
    running.stop_instance(library, P, name, "test")
    _keyed(explaining.why_not_selectable(library, P, version.ref, "llamacpp", lambda _name: stored), stored)


def _keyed(causes: list[Cause], stored: bool | None) -> None:
    about = [cause for cause in causes if "engine key door" in cause.because]
    if stored:
        assert about == []
        return
    (cause,) = about
    if stored is None:
        assert "was not checked" in cause.because
        assert (cause.command, cause.hinders) == ("modelshelf logins", False)
    else:
        assert "is not stored any more" in cause.because
        assert (cause.command, cause.hinders) == ("modelshelf login engine door", True)


def test_without_a_key_nobody_is_asked_for_one(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    launch_all(library, CHAT, ((version, ServedName("tiny")),))

    def refuse(name: str) -> bool | None:
        raise AssertionError(name)

    assert explaining.why_not_visible(library, P, version.ref, CHAT, refuse) == []


def test_what_was_not_so_is_not_called_so_no_longer(tiny: tuple[Library, Version]) -> None:
    library, version = tiny
    typed(library, f"modelshelf cache {version.ref} --pin --auto")
    for command, was in (("unpin", "is no longer pinned"), ("no-auto", "is no longer cached on every node")):
        assert was in typed(library, f"modelshelf {command} {version.ref}")
        again = typed(library, f"modelshelf {command} {version.ref}")
        assert "was not" in again
        assert "no longer" not in again


def test_what_an_engine_leaves_out_is_printed_once_a_launch(
    tiny: tuple[Library, Version], capsys: pytest.CaptureFixture[str]
) -> None:
    library, version = tiny
    made = launch_all(library, CHAT, ((version, ServedName("tiny")),))
    assert made.notes
    commands._say_left_out({"left_out": list(made.notes)})
    commands._say_instance(made, made.notes)
    printed = capsys.readouterr()
    for note in made.notes:
        assert (printed.out + printed.err).count(note) == 1
    commands._say_instance(made)
    assert all(note in capsys.readouterr().out for note in made.notes[:1])
