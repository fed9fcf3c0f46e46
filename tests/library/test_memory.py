"""An engine that the kernel kills at its limit of memory: that is the reason, wherever a reason is given."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelshelf.catalog import instances
from modelshelf.catalog.versions import Version
from modelshelf.errors import EngineDied, EngineOutOfMemory
from modelshelf.library import explaining, running
from modelshelf.library.launching.request import LaunchRequest
from modelshelf.library.memory import launch_with_more
from modelshelf.library.observing import observe
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName, ServedName
from tests.library.test_launch import with_engine
from tests.making import P, bring_in, gguf, launch_all, ollama_source
from tests.nodes.local import handled, with_settings
from tests.nodes.test_members import until
from tests.nodes.test_memory import with_cgroup
from tests.stand_ins.ollama_registry import OllamaRegistry

NAME, SERVED = InstanceName("chat"), ServedName("tiny")
LIMITED = LaunchRequest(memory=1 << 30)
KILLED = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 1\n"
"""`memory.events` of a cgroup at whose limit the kernel has killed (Documentation/admin-guide/cgroup-v2.rst)."""
SPARED = "low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\noom_group_kill 0\n"


@pytest.fixture
def limited(registry: OllamaRegistry, library: Library, tmp_path: Path) -> Iterator[tuple[Library, Version, Path]]:
    """A library whose node keeps limits in a folder that looks like a cgroup, and that folder."""
    registry.add_model("library/tiny", "1b", gguf())
    version, _ = bring_in(library, ollama_source(registry))
    equipped = with_engine(with_cgroup(library, tmp_path / "cgroup"), tmp_path)
    yield equipped, version, tmp_path / "cgroup"
    with equipped.catalog.reading() as connection:
        for one in instances.page(connection, P):
            running.stop_engine(equipped, one)


def killed_at_its_start(library: Library, tmp_path: Path, events: str) -> Library:
    """The library with an engine that does what the kernel does to it: its cgroup counts, and it is gone."""
    program = tmp_path / "killed"
    counts = tmp_path / "cgroup" / "modelshelf-$MODELSHELF_INSTANCE" / "memory.events"
    program.write_text(f'#!/bin/sh\nprintf "{events}" > "{counts}"\nkill -KILL $$\n')
    program.chmod(0o755)
    return with_settings(library, llamacpp_server=str(program))


def test_a_failed_start_gives_the_limit_as_its_reason(limited: tuple[Library, Version, Path], tmp_path: Path) -> None:
    library, version = killed_at_its_start(limited[0], tmp_path, KILLED), limited[1]
    with pytest.raises(EngineOutOfMemory) as raised:
        launch_all(library, NAME, ((version, SERVED),), LIMITED)
    said = str(raised.value)
    assert "it needed more than the 1.1 GB that `--memory` allows" in said
    assert f"`modelshelf launch {version.ref} --as chat --memory 2.1GB`" in said
    assert "`-- --ctx-size 4096`" in said
    with library.catalog.reading() as connection:
        failed = instances.find(connection, P, NAME)
    assert (failed.state, failed.reason) == ("failed", said)


def test_an_engine_that_died_for_another_reason_does_not(limited: tuple[Library, Version, Path], tmp_path: Path) -> None:
    library, version = killed_at_its_start(limited[0], tmp_path, SPARED), limited[1]
    with pytest.raises(EngineDied, match="-9, SIGKILL"):
        launch_all(library, NAME, ((version, SERVED),), LIMITED)


def test_an_instance_that_was_killed_while_it_served_says_why_it_stopped(limited: tuple[Library, Version, Path]) -> None:
    library, version, folder = limited
    made = launch_all(library, NAME, ((version, SERVED),), LIMITED)
    assert running.seen_state(library, made) == ("ready", None)
    (folder / f"modelshelf-{made.label}" / "memory.events").write_text(KILLED)
    os.kill(handled(made.handle).pid, signal.SIGKILL)
    until(lambda: library.node.find(made.label) is None)
    state, reason = running.seen_state(library, made)
    assert state == "failed"
    assert reason is not None and "its engine was killed: it needed more than the 1.1 GB that `--memory` allows" in reason
    observe(library)
    with library.catalog.reading() as connection:
        failed = instances.find(connection, P, NAME)
    assert (failed.state, failed.reason) == ("failed", reason)
    (cause,) = explaining.why_not_visible(library, P, version.ref, NAME)
    assert "it needed more than the 1.1 GB" in cause.because
    assert cause.command == f"modelshelf launch {version.ref} --as chat --memory 2.1GB"


def test_the_command_that_gives_more_names_the_template_of_several_models(limited: tuple[Library, Version, Path]) -> None:
    library, version, _ = limited
    made = launch_all(library, NAME, ((version, SERVED),), LIMITED)
    several = replace(made, serves=made.serves * 2, settings={**made.settings, "template": "both@3"})
    assert launch_with_more(several) == "modelshelf launch --template both --as chat --memory 2.1GB"
