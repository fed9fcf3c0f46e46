"""What a launch would do, before it does it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from modelshelf.catalog import instances, places, versions
from modelshelf.library import registering
from modelshelf.library.launching.request import LaunchRequest, Serves
from modelshelf.library.launching.rules import engine_for, port_for, require_as_asked
from modelshelf.library.opening import Library
from modelshelf.library.running import is_running
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What a launch does; sizes in bytes."""

    instance: InstanceName
    serves: tuple[tuple[ModelRef, ServedName], ...]
    engine: str
    bind: str
    port: int
    size: int
    cached: bool
    running: bool
    """It runs already, just as asked: nothing is to be done."""

    def to_json(self) -> dict[str, object]:
        serves = [{"version": str(ref), "name": str(served)} for ref, served in self.serves]
        return {**asdict(self), "instance": str(self.instance), "serves": serves}


def plan_launch(library: Library, asking: ProjectName, name: InstanceName, serves: Serves, request: LaunchRequest) -> LaunchPlan:
    """What would be done; raises what a launch would raise before anything starts."""
    engine = engine_for(library, serves, request)
    cached, size = True, 0
    with library.catalog.reading() as connection:
        there = instances.lookup(connection, asking, name)
        for target, _ in serves:
            size += target.size or 0
            if target.in_place:
                registering.require_here(library, target, places.of(connection, target))
            elif target.image is not None:
                cached = cached and library.node.holds(target.image, versions.files(connection, asking, target.id))
    running = there is not None and is_running(library, there)
    if there is not None and running:
        require_as_asked(there, serves, request)
    port = there.port if there is not None and running else port_for(there, request)
    named = tuple((target.ref, served) for target, served in serves)
    return LaunchPlan(name, named, engine.name, request.bind, port, size, cached, running)
