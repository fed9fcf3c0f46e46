"""Looking at what is there: replicas and engines as they are, not as they should be."""

from __future__ import annotations

from collections.abc import Collection

from modelshelf.catalog import images, instances, journal, replicas, versions
from modelshelf.catalog.ids import InstanceId
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.journal import EventKind
from modelshelf.catalog.replicas import Seen
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.library.opening import Library
from modelshelf.library.running import conclude_interrupted, let_go_of_others, seen_state
from modelshelf.states import InstanceState, ReplicaObserved, VersionState


def observe(library: Library) -> list[dict[str, str]]:
    """Each replica and instance of this node as it was seen just now; the catalog's observed columns say the same.

    However many there are, the catalog is asked a few times.
    """
    with library.catalog.reading() as connection:
        targets = versions.on_node(connection, library.node_id)
        recorded = replicas.observed_on(connection, library.node_id)
        running = instances.on_node(connection, library.node_id)
        more = instances.holding_more(connection, library.node_id)
    whole = whole_replicas(library)
    seen: list[dict[str, str]] = []
    changes: list[Seen] = []
    for target in targets:
        before, filling = recorded[target.id]
        now, reason = (before, None) if filling else _seen(target, whole)  # who fills it records what comes of it
        seen.append({"what": f"replica of {target.ref}", "on": str(library.node_at.name), "recorded": before, "seen": now})
        if now != before:
            changes.append(Seen(target.id, before, now, reason))
    if changes:
        with library.catalog.writing() as connection:
            replicas.observe_changes(connection, library.node_id, changes)
    return [*seen, *(_look_at(library, one, more) for one in running)]


def whole_replicas(library: Library) -> set[Digest]:
    """The images of which this node should have a replica, and has it complete and unchanged."""
    present = set(library.node.replicas.list())
    with library.catalog.reading() as connection:
        known = images.on_node(connection, library.node_id)
        return {image for image, files in known if image in present and library.node.replicas.holds(image, files)}


def _seen(target: Version, whole: set[Digest]) -> tuple[ReplicaObserved, str | None]:
    if target.image is None or target.state != VersionState.READY:
        return ReplicaObserved.ABSENT, f"its version is {target.state}"
    if target.image in whole:
        return ReplicaObserved.PRESENT, None
    return ReplicaObserved.ABSENT, "its files are missing or changed; cache it again"


def _look_at(library: Library, which: Instance, holding_more: Collection[InstanceId]) -> dict[str, str]:
    state, reason = seen_state(library, which)
    if state != which.state and which.state == InstanceState.STARTING:
        state = conclude_interrupted(library, which).state
    elif state != which.state and which.state == InstanceState.READY:
        with library.catalog.writing() as connection:
            instances.change(connection, which.id, state=state, reason=reason)
            journal.record_event(
                connection, which.project, "a look at the node", EventKind.INSTANCE_FAILED, str(which.name), reason
            )
    elif state == InstanceState.READY and which.id in holding_more:
        let_go_of_others(library, which)
    what = f"instance {which.name} of project {which.project}"
    return {"what": what, "on": str(library.node_at.name), "recorded": which.state, "seen": state}
