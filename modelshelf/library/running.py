"""Instances that were started: what they are now, where their log is, and how they end."""

from __future__ import annotations

from dataclasses import replace

from modelshelf.catalog import blobs, instances, journal
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.journal import EventKind
from modelshelf.catalog.leases import Lease, holding
from modelshelf.engines.contract import Engine
from modelshelf.errors import OtherNode
from modelshelf.library import stamps
from modelshelf.library.memory import killed_for_memory
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import InstanceName, ProjectName
from modelshelf.states import InstanceDesired, InstanceState

INTERRUPTED = "its launch was interrupted; launch it again"
CANCELLED = "its launch was cancelled"
_INDENT = "\n    "


def stop_instance(library: Library, asking: ProjectName, name: InstanceName, who: str) -> Instance:
    """Stop the instance, and let it be stopped until someone starts it. Its settings are kept. Safe to run again."""
    with library.catalog.writing() as connection:
        which = require_here(library, instances.find(connection, asking, name))
        instances.change(connection, which.id, desired=InstanceDesired.STOPPED, attempts=0, next_try=None)
    return end_instance(library, asking, name, who)


def end_instance(library: Library, asking: ProjectName, name: InstanceName, who: str) -> Instance:
    """End its engine for a start that follows: if that does not come, the instance is still one that should run."""
    with library.catalog.reading() as connection:
        which = instances.find(connection, asking, name)
    stop_engine(library, which)
    with library.catalog.writing() as connection:
        instances.change(connection, which.id, state=InstanceState.STOPPED, reason=None, handle=None, attempts=0, next_try=None)
        if which.state != InstanceState.STOPPED:
            journal.record_event(connection, asking, who, EventKind.INSTANCE_STOPPED, str(name))
        return instances.find(connection, asking, name)


def delete_instance(library: Library, asking: ProjectName, name: InstanceName, who: str) -> None:
    """It is stopped and gone, with its log and what it wrote."""
    which = stop_instance(library, asking, name, who)
    with library.catalog.reading() as connection:
        linked = blobs.of_versions(connection, {serving.version_id for serving in which.serves})
    with stamps.linking(library, linked):  # the row last: it is how the next run finds what this one left
        library.node.discard(which.label)
    with library.catalog.writing() as connection:
        instances.remove(connection, asking, which, who)


def stop_engine(library: Library, which: Instance, limits: Limits = DEFAULT) -> None:
    """End every process of the instance, also those that outlived its first. Raises ProcessesRemain."""
    library.node.stop(which.label, limits.engine_stop_seconds)


def require_here(library: Library, which: Instance) -> Instance:
    """Return the instance. Raises OtherNode for one that another node runs."""
    if which.node != library.node_at.name:
        raise OtherNode(node=which.node, here=library.node_at.name)
    return which


def is_running(library: Library, which: Instance) -> bool:
    """Return whether it is ready by its row, and the engine that was started still runs. False if another node runs it."""
    return which.node == library.node_at.name and which.state == InstanceState.READY and _runs(library, which)


def seen_state(library: Library, which: Instance) -> tuple[InstanceState, str | None]:
    """Return what the instance is now, as seen and not as recorded, and why; as recorded if another node runs it."""
    if which.node != library.node_at.name:
        return which.state, which.reason
    if which.state == InstanceState.READY and not _runs(library, which):
        if (killed := killed_for_memory(library, which)) is not None:
            return InstanceState.FAILED, f"its engine was killed: {killed}"
        return InstanceState.FAILED, f"its engine has ended; see `modelshelf logs {which.name}`"
    if which.state == InstanceState.STARTING and not _is_launched(library, which):
        return InstanceState.FAILED, INTERRUPTED
    return which.state, which.reason


def _runs(library: Library, which: Instance) -> bool:
    return which.handle is not None and library.node.find(which.label) == which.handle


def _is_launched(library: Library, which: Instance) -> bool:
    with library.catalog.reading() as connection:
        return holding(connection, which.lease) is not None


def give_up(library: Library, which: Instance, state: InstanceState, reason: str, who: str) -> None:
    """End the engine of a launch that did not get ready, and record the state and why."""
    stop_engine(library, which)
    with library.catalog.writing() as connection:
        instances.change(connection, which.id, state=state, reason=reason, handle=None)
        kind = EventKind.INSTANCE_FAILED if state == InstanceState.FAILED else EventKind.INSTANCE_STOPPED
        journal.record_event(connection, which.project, who, kind, str(which.name), reason)


def give_up_recorded(library: Library, asking: ProjectName, name: InstanceName, who: str) -> None:
    """Record that the launch was cancelled, if it had recorded its instance. The caller holds the instance's lease."""
    with library.catalog.reading() as connection:
        which = instances.lookup(connection, asking, name)
    if which is not None and which.state == InstanceState.STARTING:
        give_up(library, which, InstanceState.STOPPED, CANCELLED, who)


def conclude_interrupted(library: Library, which: Instance) -> Instance:
    """End what a killed launch left: nobody renewed its lease, so nobody will prove its engine.

    Returns the instance as it is afterwards; unchanged if a launch is at it. Safe to run again.
    """
    lease = Lease(which.lease, says="a look at what an interrupted launch left")
    with library.catalog.writing() as connection:
        if not lease.acquire(connection):
            return which
        now = instances.find(connection, which.project, which.name)
    try:
        if now.state != InstanceState.STARTING:
            return now
        give_up(library, now, InstanceState.FAILED, INTERRUPTED, "a look at the node")
    finally:
        with library.catalog.writing() as connection:
            lease.release(connection)
    return replace(now, state=InstanceState.FAILED, reason=INTERRUPTED, handle=None)


def let_go_of_others(library: Library, which: Instance) -> None:
    """Let a ready instance hold only what it serves: a switch that was killed before it stopped the instance left it more."""
    with library.catalog.writing() as connection:
        now = instances.find(connection, which.project, which.name)
        if now.state == InstanceState.READY and holding(connection, now.lease) is None:
            instances.hold_only_served(connection, now)


def key_of(library: Library, which: Instance) -> str:
    """Return the key that its engine was started with; empty if it asks for none, or if this user may not read it."""
    return library.node.key(which.label) if which.settings.get("key_block") else ""


def words_of_start(library: Library, which: Instance, engine: Engine) -> str:
    """Return what the log of this start gives as the reason of a failure, and its last lines, for the end of a message.

    Empty if the log is empty.
    """
    log = library.node.log_of_start(which.label)
    last, reason = last_lines(log, library.limits.log_tail_lines), engine.reason_of(log)
    above = "" if reason is None or reason in last.rpartition("\n")[2] else f"{_INDENT}{reason}{_INDENT}…"
    return f" From it:{above}{last}" if last else ""


def last_lines(log: str, lines: int) -> str:
    """Return the last lines as an indented block, which begins with a line break."""
    return "".join(f"{_INDENT}{line.strip()}" for line in log.splitlines()[-lines:] if line.strip())
