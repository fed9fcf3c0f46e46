"""Looking at what is there: replicas and engines as they are, not as they should be."""

from __future__ import annotations

from modelshelf.catalog import instances, leases, replicas, versions
from modelshelf.catalog.ids import VersionId
from modelshelf.catalog.leases import replica_lease
from modelshelf.library.opening import NODE, Library
from modelshelf.library.running import conclude_interrupted, let_go_of_others, seen_state
from modelshelf.names import InstanceName, ProjectName
from modelshelf.states import InstanceState, ReplicaObserved, VersionState


def observe(library: Library) -> list[dict[str, str]]:
    """Each replica and instance of this node as it was seen just now; the catalog's observed columns say the same."""
    seen: list[dict[str, str]] = []
    with library.catalog.reading() as connection:
        known = replicas.on_node(connection, library.node_id)
        running = instances.everywhere(connection, library.node_id)
    for version_id, owner, before in known:
        seen.append(_look_at_replica(library, version_id, owner, before))
    seen += [_look_at(library, project, name) for project, name in running]
    return seen


def _look_at_replica(library: Library, version_id: VersionId, owner: ProjectName, before: ReplicaObserved) -> dict[str, str]:
    with library.catalog.reading() as connection:
        target = versions.get(connection, owner, version_id)
        files = versions.files(connection, owner, version_id) if target.state == VersionState.READY else None
        image = target.image
        filling = image is not None and leases.holding(connection, replica_lease(library.node_id, image)) is not None
    said = {"what": f"replica of {target.ref}", "on": str(NODE), "recorded": before}
    if filling:  # by a run that records what comes of it
        return {**said, "seen": before}
    if target.image is None or files is None:
        return {**said, "seen": _record(library, version_id, before, ReplicaObserved.ABSENT, f"its version is {target.state}")}
    if library.node.replicas.holds(target.image, files):
        return {**said, "seen": _record(library, version_id, before, ReplicaObserved.PRESENT, None)}
    return {
        **said,
        "seen": _record(library, version_id, before, ReplicaObserved.ABSENT, "its files are missing or changed; cache it again"),
    }


def _record(
    library: Library, version_id: VersionId, before: ReplicaObserved, now: ReplicaObserved, reason: str | None
) -> ReplicaObserved:
    if now != before:
        with library.catalog.writing() as connection:
            replicas.observe_change(connection, library.node_id, version_id, before, now, reason)
    return now


def _look_at(library: Library, project: ProjectName, name: InstanceName) -> dict[str, str]:
    with library.catalog.reading() as connection:
        which = instances.find(connection, project, name)
    state, reason = seen_state(library, which)
    if state != which.state and which.state == InstanceState.STARTING:
        state = conclude_interrupted(library, which).state
    elif state != which.state and which.state == InstanceState.READY:
        with library.catalog.writing() as connection:
            instances.change(connection, which.id, state=state, reason=reason)
    elif state == InstanceState.READY:
        let_go_of_others(library, which)
    return {"what": f"instance {name} of project {project}", "on": str(NODE), "recorded": which.state, "seen": state}
