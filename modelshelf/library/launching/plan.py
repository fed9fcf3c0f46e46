"""What a launch would do, before it does anything; and everything that can be checked before."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from modelshelf.catalog import instances, places, versions
from modelshelf.library import registering
from modelshelf.library.launching.choose import left_out
from modelshelf.library.launching.request import LaunchSpec
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
    """The instance runs already, just as asked: nothing is to be done."""
    left_out: tuple[str, ...] = ()
    """What of the versions the engine does not apply, in sentences."""

    def to_json(self) -> dict[str, object]:
        serves = [{"version": str(ref), "name": str(served)} for ref, served in self.serves]
        return {**asdict(self), "instance": str(self.instance), "serves": serves, "left_out": list(self.left_out)}


def plan_launch(library: Library, asking: ProjectName, spec: LaunchSpec) -> LaunchPlan:
    """Return what would be done; raise what a launch would raise before anything starts."""
    engine, there = engine_for(library, spec), spec.before
    cached = require_startable(library, asking, spec)
    running = there is not None and is_running(library, there)
    if there is not None and running:
        require_as_asked(there, spec)
    port = there.port if there is not None and running else port_for(library, there, spec.settings)
    return LaunchPlan(
        spec.instance, tuple((target.ref, served) for target, served in spec.serves), engine.name, spec.settings.bind, port,
        sum(target.size or 0 for target, _ in spec.serves), cached, running,
        tuple(note for target, _ in spec.serves for note in left_out(library, engine.name, target)),
    )  # fmt: skip


def require_startable(library: Library, asking: ProjectName, spec: LaunchSpec) -> bool:
    """Return whether every version has its files on this node.

    Raises NotReady, Disabled, PlaceChanged, OtherRegion or NoSuchFilesystem for a version that cannot be served now.
    """
    cached = True
    with library.catalog.reading() as connection:
        for target, _ in spec.serves:
            versions.require_selectable(target, instances.using(spec.before))
            if target.in_place:
                registering.require_here(library, target, places.of(connection, target))
            elif cached and target.image is not None:
                cached = library.node.replicas.holds(target.image, versions.files(connection, asking, target.id))
    return cached


def require_restartable(library: Library, asking: ProjectName, spec: LaunchSpec) -> None:
    """Raise what would keep the instance from being started again. What it was started with may be disabled since."""
    engine_for(library, spec)
    require_startable(library, asking, spec)
