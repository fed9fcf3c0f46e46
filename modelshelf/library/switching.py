"""Switching what an instance serves to another version, and back: its own template remembers every revision."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from modelshelf.catalog import instances, templates, versions
from modelshelf.catalog.templates import Serving
from modelshelf.engines.table import engine_called
from modelshelf.errors import NothingToSwitch
from modelshelf.library.comparing import bytes_to_fetch
from modelshelf.library.launching.request import LaunchRequest, Serves
from modelshelf.library.launching.rules import require_fitting
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName, ModelRef, ProjectName


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """What a switch changes: served versions before and after, and the bytes that the node lacks."""

    instance: InstanceName
    before: Serves
    after: Serves
    request_before: LaunchRequest
    request: LaunchRequest
    to_copy: int

    @property
    def same(self) -> bool:
        return {(one.id, name) for one, name in self.before} == {(one.id, name) for one, name in self.after}

    def to_json(self) -> dict[str, object]:
        said = {"before": self.before, "after": self.after}
        named = {key: [{"version": str(one.ref), "name": str(name)} for one, name in value] for key, value in said.items()}
        return {"instance": str(self.instance), **named, "to_copy": self.to_copy, "same": self.same}


def plan_switch(
    library: Library, asking: ProjectName, name: InstanceName, model: ModelRef | None, *, back: bool, forget: bool = False
) -> SwitchPlan:
    """What would change. Raises what a launch of it would raise, NothingToSwitch if there is nothing to go back to."""
    with library.catalog.reading() as connection:
        there = instances.find(connection, asking, name)

        def resolved(serves: tuple[Serving, ...]) -> Serves:
            return tuple((versions.get(connection, asking, one.version_id), one.served_name) for one in serves)

        before = resolved(there.serves)
        request = request_before = LaunchRequest.from_json(there.settings)
        if back:
            past = _before_last(connection, asking, there)
            after, request = resolved(past.serves), replace(LaunchRequest.from_json(past.settings), port=0)
        else:
            if model is None and not forget:
                raise NothingToSwitch(instance=name, reason="no model was named, and not `--back`")
            after = before
            if model is not None:
                target = versions.require_selectable(versions.find(connection, asking, model), instances.using(there))
                after = _replaced(before, target, name)
        to_copy = sum(bytes_to_fetch(library, connection, asking, target) for target, _ in after)
    require_fitting(engine_called(request.engine, library.settings), after)
    return SwitchPlan(name, before, after, replace(request_before, port=0), replace(request, port=0), to_copy)


def forget_past(library: Library, asking: ProjectName, name: InstanceName) -> int:
    """What the instance served before is held no more; how many revisions went."""
    with library.catalog.writing() as connection:
        return templates.forget_past(connection, asking, templates.own_name(name))


def _before_last(connection: Connection, asking: ProjectName, there: instances.Instance) -> templates.Template:
    """The newest earlier revision of the instance's own template that serves something else."""
    now = {(one.version_id, one.served_name) for one in there.serves}
    for number in range(there.revision - 1, 0, -1):
        past = templates.get(connection, asking, templates.own_name(there.name), number)
        if {(one.version_id, one.served_name) for one in past.serves} != now:
            return past
    raise NothingToSwitch(instance=there.name, reason="it never served another version")


def _replaced(before: Serves, target: versions.Version, name: InstanceName) -> Serves:
    if len(before) == 1:
        return ((target, before[0][1]),)
    same = [served for one, served in before if one.model == target.model]
    if len(same) != 1:
        reason = f"it serves {len(before)} models, and {len(same)} of them are called {target.model}"
        raise NothingToSwitch(instance=name, reason=reason)
    return tuple((target if served == same[0] else one, served) for one, served in before)
