"""An instance is all its processes: none of them outlives its stop, whatever became of the first."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelshelf.engines.contract import Command
from modelshelf.library.opening import Library
from modelshelf.nodes import processes
from modelshelf.nodes.contract import Ended, Running
from modelshelf.nodes.local import LocalNode
from modelshelf.nodes.processes import Process
from tests.nodes.local import handled, node_of, with_settings

FAMILY = str(Path(__file__).parent.parent / "stand_ins" / "family.py")
LABEL = "0123456789abcdef0123456789abcdef"


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def running(pids: list[int]) -> list[int]:
    return [pid for pid in pids if processes.identify(pid) is not None]


def words(pids: list[int]) -> str:
    """What is left, as a person is told it: in the order in which they were started."""
    return f"process{'es' if len(pids) > 1 else ''} {', '.join(map(str, pids))}"


class Family:
    """A tree of processes that was started as an engine is."""

    def __init__(self, node: LocalNode, *options: str) -> None:
        self.node = node
        self.log = node.own_folder(LABEL) / "engine.log"
        self.first = handled(node.start(LABEL, "llamacpp", Command((FAMILY, *options))))
        until(lambda: "tree" in self.log.read_text())
        self.pids = [int(word) for word in self.log.read_text().rpartition("tree ")[2].split()]

    def kill_first(self) -> None:
        """What the kernel does when memory runs out: one process is killed."""
        os.kill(self.first.pid, signal.SIGKILL)
        until(lambda: not processes.alive(self.first))


@pytest.fixture
def node(library: Library) -> Iterator[LocalNode]:
    yield node_of(with_settings(library, llamacpp_server=sys.executable))
    library.node.stop(LABEL, 0)


@pytest.mark.parametrize(
    "options",
    [(), ("--bare",), ("--apart",), ("--deaf",), ("--bare", "--deaf"), ("--apart", "--deaf")],
    ids=lambda options: " ".join(options) or "plain",
)
@pytest.mark.parametrize("first_dies", [False, True])
def test_stop_leaves_none_of_them(node: LocalNode, options: tuple[str, ...], *, first_dies: bool) -> None:
    family = Family(node, *options)
    assert {one.pid for one in node.members(LABEL)} == set(family.pids)
    if first_dies:
        family.kill_first()
        assert node.find(LABEL) is None, "its first process is gone"
        assert {one.pid for one in node.members(LABEL)} == set(family.pids[1:]), "the others are not"
        assert node.look()[LABEL] == Ended(words(family.pids[1:]))
    node.stop(LABEL, 0.5 if "--deaf" in options else 20)
    assert running(family.pids) == []
    assert node.members(LABEL) == []
    assert node.look() == {}


def test_a_start_ends_what_an_earlier_engine_left(node: LocalNode) -> None:
    family = Family(node)
    family.kill_first()
    again = Family(node)
    assert running(family.pids) == []
    assert sorted(running(again.pids)) == sorted(again.pids)


def test_a_start_finds_the_engine_that_runs(node: LocalNode) -> None:
    family = Family(node)
    assert handled(node.start(LABEL, "llamacpp", Command(("/nowhere",)))) == family.first
    (found,) = node.look().values()
    assert isinstance(found, Running) and handled(found.handle) == family.first
    assert found.parts.startswith(f"processes {family.first.pid}, ")


def test_a_folder_is_removed_only_after_its_processes(node: LocalNode) -> None:
    family = Family(node)
    family.kill_first()
    node.discard(LABEL)
    assert running(family.pids) == []
    assert LABEL not in node.labels()


def test_processes_whose_folder_was_removed_are_still_found(node: LocalNode) -> None:
    family = Family(node)
    family.kill_first()
    subprocess.run(["rm", "-r", str(family.log.parent)], check=True)
    assert node.look()[LABEL] == Ended(words(family.pids[1:]))


def test_an_engine_that_was_started_just_before_a_crash_is_found_by_its_label(node: LocalNode) -> None:
    family = Family(node)
    (family.log.parent / "process.json").unlink()
    assert handled(node.find(LABEL)) == family.first
    assert {one.pid for one in node.members(LABEL)} == set(family.pids)


def test_a_process_whose_first_thread_ended_still_counts(node: LocalNode) -> None:
    family = Family(node, "--first-thread-ends")
    until(lambda: processes.identify(family.first.pid) is None)
    assert family.first.pid in {one.pid for one in node.members(LABEL)}, "it still holds its memory"
    node.stop(LABEL, 1)
    assert not (Path("/proc") / str(family.first.pid) / "task").exists() or not node.members(LABEL)


def test_a_person_who_looks_at_the_folder_is_left_alone(node: LocalNode) -> None:
    """A shell that works in the instance's folder, and one that has its label in a session of someone else's."""
    family = Family(node)
    stranger = subprocess.Popen(["/bin/sleep", "600"], cwd=family.log.parent, start_new_session=True)
    try:
        node.stop(LABEL, 20)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_another_library_with_the_same_machine_is_left_alone(node: LocalNode, tmp_path: Path) -> None:
    family = Family(node)
    other = LocalNode(tmp_path / "other", node.replicas._store)
    assert other.look() == {}
    assert sorted(running(family.pids)) == sorted(family.pids)


@pytest.mark.parametrize("renamed", [False, True])
def test_a_copy_of_the_library_never_ends_the_engines_of_the_first(node: LocalNode, tmp_path: Path, *, renamed: bool) -> None:
    family = Family(node)
    shutil.copytree(family.log.parent.parent.parent, tmp_path / "copy")
    copy, label = LocalNode(tmp_path / "copy", node.replicas._store), LABEL
    if renamed:
        label = "f" * 32
        copy.rename(LABEL, label)
    assert copy.look() == {}
    assert (copy.find(label), copy.members(label)) == (None, [])
    copy.discard(label)
    assert sorted(running(family.pids)) == sorted(family.pids)
    assert handled(node.find(LABEL)) == family.first


def test_a_recycled_number_is_not_the_session_of_the_instance(node: LocalNode) -> None:
    """The recorded first process is gone, and its number is the session of another's processes by now."""
    stranger = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    try:
        recorded = Process(stranger.pid, 1, processes.boot())
        folder = node.own_folder(LABEL)
        folder.mkdir()
        content = {"folder": str(folder.resolve()), "pid": recorded.pid, "started": 1, "boot": recorded.boot}
        (folder / "process.json").write_text(json.dumps(content))
        assert node.members(LABEL) == []
        node.stop(LABEL, 0)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_exit_status_of_a_process_that_just_ends_is_waited_for() -> None:
    child = os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 0.3; exit 7"], {})
    assert processes.exit_status(child) == "7"
