"""An engine whose first process was killed: its other processes are named, and none outlives a stop, restart or deletion."""

from __future__ import annotations

import os
import signal

import pytest

from modelshelf.catalog.versions import Version
from modelshelf.library import running
from modelshelf.library.launching.request import LaunchRequest
from modelshelf.library.opening import Library
from modelshelf.nodes import processes
from tests.library.test_launch import NAME, launch, process_of, ready
from tests.library.test_upkeep import audit
from tests.making import P
from tests.nodes.local import node_of
from tests.nodes.test_members import until

__all__ = ["ready"]
REQUEST = LaunchRequest(arguments=("--say", "with-child"))


@pytest.fixture
def child(ready: tuple[Library, Version]) -> int:
    """The process that an instance of the library still has, after its first was killed."""
    library, version = ready
    instance = launch(library, version, REQUEST)
    first = process_of(instance)
    (child,) = (one for one in node_of(library).members(instance.label) if one != first)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not processes.alive(first))
    return child.pid


def test_a_stop_ends_what_is_left(ready: tuple[Library, Version], child: int) -> None:
    running.stop_instance(ready[0], P, NAME, "test")
    assert processes.identify(child) is None


def test_a_deletion_ends_what_is_left(ready: tuple[Library, Version], child: int) -> None:
    running.delete_instance(ready[0], P, NAME, "test")
    assert processes.identify(child) is None


def test_a_second_set_is_never_started_beside_it(ready: tuple[Library, Version], child: int) -> None:
    library, version = ready
    again = launch(library, version, REQUEST)
    assert processes.identify(child) is None
    assert len(node_of(library).members(again.label)) == 2


def test_the_audit_names_what_is_left_and_ends_it(ready: tuple[Library, Version], child: int) -> None:
    library, _ = ready
    (found,) = [one for one in audit(library) if one.kind == "engine left over"]
    assert found.what == f"default/{NAME}"
    assert f"process {child} " in f"{found.found} "
    assert processes.identify(child) is not None, "looking changes nothing"
    audit(library, repair=True)
    assert processes.identify(child) is None
