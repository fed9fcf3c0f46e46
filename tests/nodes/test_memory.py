"""A limit of memory holds for the whole instance, or it is refused with the reason before anything starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from modelshelf.engines.contract import Command
from modelshelf.errors import NoMemoryLimit
from modelshelf.library.opening import Library
from modelshelf.nodes import memory
from modelshelf.nodes.memory import MemoryLimits
from modelshelf.settings import load_settings
from tests.nodes.local import handled, node_of, with_settings
from tests.nodes.test_members import FAMILY, LABEL, running, until


def cgroup(folder: Path, controllers: str = "cpu memory pids") -> Path:
    """A folder as the kernel shows a cgroup that was delegated to us."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.subtree_control").write_text(f"{controllers}\n")
    return folder


def with_cgroup(library: Library, folder: Path) -> Library:
    """The library with a node that keeps limits in that folder."""
    return with_settings(library, cgroup=cgroup(folder))


def test_the_limit_is_set_before_the_engine_runs_and_holds_for_its_children(library: Library, tmp_path: Path) -> None:
    node = node_of(with_settings(with_cgroup(library, tmp_path / "cgroup"), llamacpp_server=sys.executable))
    child = tmp_path / "cgroup" / f"modelshelf-{LABEL}"
    child.mkdir()
    for name in ("memory.swap.max", "memory.oom.group"):
        (child / name).write_text("max\n")
    log = node.own_folder(LABEL) / "engine.log"
    try:
        first = handled(node.start(LABEL, "llamacpp", Command((FAMILY,), memory=1 << 30)))
        until(lambda: "tree" in log.read_text())
        read = {
            name: (child / name).read_text() for name in ("memory.max", "memory.swap.max", "memory.oom.group", "cgroup.procs")
        }
        assert read == {
            "memory.max": f"{1 << 30}\n", "memory.swap.max": "0\n", "memory.oom.group": "1\n", "cgroup.procs": f"{first.pid}\n",
        }  # fmt: skip
        assert b"Max data size             unlimited" in Path(f"/proc/{first.pid}/limits").read_bytes()
        assert " ".join((sys.executable, FAMILY)) in log.read_text().splitlines()[0], "the log names the engine's own command"
    finally:
        node.stop(LABEL, 20)


def test_what_is_in_the_cgroup_belongs_to_the_instance_whatever_it_lost(library: Library, tmp_path: Path) -> None:
    """Neither label nor session are left: the first process is dead, its children cleared both."""
    node = node_of(with_settings(with_cgroup(library, tmp_path / "cgroup"), llamacpp_server=sys.executable))
    log = node.own_folder(LABEL) / "engine.log"
    node.start(LABEL, "llamacpp", Command((FAMILY, "--bare", "--apart"), memory=1 << 30))
    until(lambda: "tree" in log.read_text())
    pids = [int(word) for word in log.read_text().rpartition("tree ")[2].split()]
    procs = tmp_path / "cgroup" / f"modelshelf-{LABEL}" / "cgroup.procs"
    procs.write_text("\n".join(map(str, pids)))  # as the kernel lists it
    node.stop(LABEL, 20)
    assert running(pids) == []


def test_an_empty_cgroup_is_removed_with_its_instance(tmp_path: Path) -> None:
    limits = MemoryLimits(cgroup(tmp_path / "cgroup"))
    child = tmp_path / "cgroup" / f"modelshelf-{LABEL}"
    child.mkdir()
    limits.forget(LABEL)
    assert not child.exists()
    limits.forget(LABEL)


@pytest.mark.parametrize(
    ("controllers", "reason"), [("cpu pids", "`memory` is not enabled"), (None, "is not a cgroup v2 folder")]
)
def test_a_folder_that_cannot_keep_it_is_refused_with_the_reason(tmp_path: Path, controllers: str | None, reason: str) -> None:
    folder = cgroup(tmp_path / "cgroup", controllers) if controllers is not None else tmp_path
    with pytest.raises(NoMemoryLimit, match=reason):
        MemoryLimits(folder).require()


def test_without_a_cgroup_systemd_makes_a_scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every condition in turn, and then the command."""
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_manager", lambda: tmp_path / "private")
    monkeypatch.setenv("PATH", str(tmp_path))
    limits = MemoryLimits()
    for reason, file, content in (
        ("is not cgroup v2", "cgroup.controllers", "cpu memory"),
        ("no `systemd-run`", "systemd-run", ""),
        ("no systemd answers", "private", ""),
    ):
        with pytest.raises(NoMemoryLimit, match=reason):
            limits.require()
        (tmp_path / file).write_text(content)
        (tmp_path / file).chmod(0o755)
    within = limits.within(LABEL, 1 << 30)
    assert within.prefix[0] == "systemd-run"
    assert {"--scope", f"MemoryMax={1 << 30}", "MemorySwapMax=0", f"--unit=modelshelf-{LABEL}.scope"} <= set(within.prefix)
    assert ("--user" in within.prefix) is (os.geteuid() != 0)
    assert within.prefix[-1] == "--"


@pytest.mark.parametrize(
    ("events", "exceeded"),
    [("oom 1\noom_kill 2\noom_group_kill 1\n", True), ("oom 3\noom_kill 0\n", False), ("", False), (None, False), ("oom_kill\n", False)],
)  # fmt: skip
def test_the_kernel_counts_whom_it_killed_at_the_limit(tmp_path: Path, events: str | None, exceeded: bool) -> None:
    child = cgroup(tmp_path / "cgroup") / f"modelshelf-{LABEL}"
    child.mkdir()
    if events is not None:
        (child / "memory.events").write_text(events)
    assert MemoryLimits(tmp_path / "cgroup").exceeded(LABEL) is exceeded


def test_systemd_says_how_a_scope_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd hears of the end of the processes later than we do: it is asked until the scope is not active any more."""
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_manager", lambda: tmp_path / "private")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "cgroup.controllers").write_text("memory")
    (tmp_path / "private").touch()
    systemctl = f"""#!/bin/sh
echo "$@" >> {tmp_path}/asked
case "$(wc -l < {tmp_path}/asked)" in 1) echo Result=success; echo ActiveState=active;; *) echo Result=oom-kill; echo ActiveState=failed;; esac
"""  # fmt: skip
    for name, content in (("systemd-run", ""), ("systemctl", systemctl)):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    assert MemoryLimits().exceeded(LABEL)
    MemoryLimits().forget(LABEL)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 3
    assert all(line.endswith(f" modelshelf-{LABEL}.scope") for line in asked)
    assert asked[-1].endswith(f"reset-failed modelshelf-{LABEL}.scope"), "else no scope of that name can be made again"


def test_this_machine_keeps_the_limit_or_says_why_not() -> None:
    """Whatever machine the tests run on: nothing is started on a guess."""
    try:
        MemoryLimits().require()
    except NoMemoryLimit as error:
        assert error.facts["reason"].startswith("no `cgroup` is set, and ")
    else:
        assert MemoryLimits().within(LABEL, 1 << 30).prefix[0] == "systemd-run"


def test_the_folder_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSHELF_HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text('cgroup = "/sys/fs/cgroup/modelshelf"\n')
    assert load_settings().cgroup == Path("/sys/fs/cgroup/modelshelf")
