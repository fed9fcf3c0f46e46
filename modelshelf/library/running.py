"""Instances that were started: what they are now, where their log is, and how they end."""

from __future__ import annotations

import os
from pathlib import Path

from modelshelf.catalog import instances, journal
from modelshelf.catalog.instances import Instance
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import InstanceName, ProjectName
from modelshelf.nodes.contract import Process


def stop_instance(library: Library, asking: ProjectName, name: InstanceName, who: str) -> Instance:
    """It does not run; what it was started with is kept for the next start. Safe to run again."""
    with library.catalog.reading() as connection:
        which = instances.find(connection, asking, name)
    stop_engine(library, which)
    with library.catalog.writing() as connection:
        instances.change(connection, which.id, state="stopped", reason=None, process=None)
        if which.state != "stopped":
            journal.record_event(connection, asking, who, "instance.stopped", str(name))
        return instances.find(connection, asking, name)


def delete_instance(library: Library, asking: ProjectName, name: InstanceName, who: str) -> None:
    """It is stopped and gone, with its log and what it wrote."""
    which = stop_instance(library, asking, name, who)
    with library.catalog.writing() as connection:
        instances.remove(connection, asking, which, who)
    library.node.discard_instance(which.label)


def stop_engine(library: Library, which: Instance, limits: Limits = DEFAULT) -> None:
    """End every process of the instance, also those that outlived its first. Raises ProcessesRemain."""
    library.node.stop(which.label, limits.engine_stop_seconds)


def is_running(library: Library, which: Instance) -> bool:
    """It is ready by its row, and the process is still the one that was started."""
    process = recorded(which)
    return which.state == "ready" and process is not None and library.node.alive(process)


def seen_state(library: Library, which: Instance) -> tuple[str, str | None]:
    """What the instance is now, as seen and not as recorded, and why."""
    process = recorded(which)
    alive = process is not None and library.node.alive(process)
    if which.state == "ready" and not alive:
        return "failed", f"its engine is gone; see `modelshelf logs {which.name}`"
    if which.state == "starting" and not alive:
        return "failed", "its launch was interrupted; launch it again"
    return which.state, which.reason


def log_file(library: Library, which: Instance) -> Path:
    return library.node.instance_folder(which.label) / "engine.log"


def recorded(which: Instance) -> Process | None:
    if which.process is None:
        return None
    return Process(int(which.process["pid"]), int(which.process["started"]), str(which.process["boot"]))


def tail(log: Path, lines: int) -> str:
    """The last lines, of at most 64 KiB of log."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - (64 << 10)))
        return " | ".join(line.strip() for line in file.read().decode(errors="replace").splitlines()[-lines:] if line.strip())
