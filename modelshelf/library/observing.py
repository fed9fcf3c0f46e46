"""Looking at what is there: replicas and engines as they are, not as they should be."""

from __future__ import annotations

from modelshelf.catalog import instances, replicas, versions
from modelshelf.library.opening import NODE, Library
from modelshelf.library.running import conclude_interrupted, seen_state
from modelshelf.names import InstanceName, ProjectName


def observe(library: Library) -> list[dict[str, str]]:
    """Each replica and instance of this node as it was seen just now; the catalog's observed columns say the same."""
    seen: list[dict[str, str]] = []
    with library.catalog.reading() as connection:
        known = replicas.on_node(connection, library.node_id)
        running = instances.everywhere(connection, library.node_id)
    for version_id, owner, before in known:
        with library.catalog.reading() as connection:
            target = versions.get(connection, owner, version_id)
            files = versions.files(connection, owner, version_id)
        there = target.image is not None and library.node.holds(target.image, files)
        now = "present" if there else "absent"
        if now != before:
            reason = None if there else "its files are gone or altered; cache it again"
            with library.catalog.writing() as connection:
                replicas.observe(connection, library.node_id, version_id, now, reason)
        seen.append({"what": f"replica of {target.ref}", "on": str(NODE), "recorded": before, "seen": now})
    seen += [_look_at(library, project, name) for project, name in running]
    return seen


def _look_at(library: Library, project: ProjectName, name: InstanceName) -> dict[str, str]:
    with library.catalog.reading() as connection:
        which = instances.find(connection, project, name)
    state, reason = seen_state(library, which)
    if state != which.state and which.state == "starting":
        state = conclude_interrupted(library, which).state
    elif state != which.state and which.state == "ready":
        with library.catalog.writing() as connection:
            instances.change(connection, which.id, state=state, reason=reason)
    return {"what": f"instance {name} of project {project}", "on": str(NODE), "recorded": which.state, "seen": state}
