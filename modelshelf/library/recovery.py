"""What should be on this node and is not, brought back: each try is claimed, counted, and waits longer than the one before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from modelshelf.catalog import instances, recoveries, replicas, versions
from modelshelf.catalog.instances import Instance
from modelshelf.library import caching
from modelshelf.library.deletions import remove_condemned
from modelshelf.library.evicting import remove_left_over
from modelshelf.library.launching.request import LaunchSpec, again
from modelshelf.library.opening import Library
from modelshelf.library.running import seen_state
from modelshelf.names import InstanceName, ModelRef, ProjectName
from modelshelf.states import InstanceDesired, InstanceState
from modelshelf.stop import StopToken


@dataclass(frozen=True, slots=True)
class Lost:
    """What is due to be brought back: instances to start, and versions whose replicas are to be filled again."""

    instances: tuple[tuple[ProjectName, InstanceName], ...]
    replicas: tuple[tuple[ProjectName, ModelRef], ...]


def claim_lost(library: Library) -> Lost:
    """Return what is due on this node. Each is counted as tried: nobody else gets it before its next try."""
    with library.catalog.writing() as connection:
        recoveries.settle(connection, library.node_id, library.limits)
        return Lost(
            tuple(recoveries.claim_instances(connection, library.node_id, library.limits)),
            tuple(recoveries.claim_replicas(connection, library.node_id, library.limits)),
        )


def tidy(library: Library, stop: StopToken) -> None:
    """Remove from this node what nothing needs any more: of versions that were deleted, here or on another node."""
    remove_left_over(library)
    remove_condemned(library, stop)


def spec_of_lost(library: Library, asking: ProjectName, name: InstanceName) -> LaunchSpec | None:
    """Return what the instance was started with; None if it runs, was stopped or is gone. The caller holds its lease."""
    with library.catalog.reading() as connection:
        found = instances.lookup(connection, asking, name)
    if found is None or found.desired != InstanceDesired.RUNNING or seen_state(library, found)[0] == InstanceState.READY:
        return None
    return again(library, asking, name)


def refill(library: Library, asking: ProjectName, ref: ModelRef, stop: StopToken) -> bool:
    """Fill the replica again if it is still wanted on this node; return whether it is complete now."""
    with library.catalog.reading() as connection:
        target = versions.find(connection, asking, ref)
        wanted = replicas.is_desired(connection, library.node_id, target.id)
    if wanted:
        caching.fill(library, asking, versions.require_ready(target), stop)
    return wanted


def next_try(library: Library, which: Instance, state: InstanceState) -> str | None:
    """Return in words when an instance that should run is started again; None for one that runs, or was stopped."""
    if which.desired != InstanceDesired.RUNNING or state not in (InstanceState.FAILED, InstanceState.STOPPED):
        return None
    if which.attempts >= library.limits.recovery_attempts:
        return f"it was started again {which.attempts} times in vain, and is not tried any more"
    if which.next_try is None:
        return "it is started again at the next look, within five minutes"
    clock = datetime.fromtimestamp(which.next_try).astimezone().strftime("%H:%M:%S")
    return f"it is started again after {clock} (try {which.attempts + 1} of {library.limits.recovery_attempts})"
