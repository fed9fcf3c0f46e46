"""Switching what an instance serves to another version, and back: its own template remembers every revision."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from modelshelf.catalog import instances, templates, versions
from modelshelf.catalog.ids import VersionId
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.templates import Template
from modelshelf.errors import NoSuchTemplate, NothingToSwitch
from modelshelf.library.comparing import bytes_to_fetch
from modelshelf.library.launching.choose import left_out
from modelshelf.library.launching.plan import require_startable
from modelshelf.library.launching.request import LaunchSettings, LaunchSpec, Serves, served_versions
from modelshelf.library.launching.rules import engine_for
from modelshelf.library.opening import Library
from modelshelf.library.running import is_running
from modelshelf.names import InstanceName, ModelRef, ProjectName


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """What a switch changes: what is served before and after, and the bytes that the node lacks."""

    before: LaunchSpec
    """What the instance returns to if the switch fails."""
    after: LaunchSpec
    to_copy: int
    same: bool
    """It serves that already: nothing is to be done."""
    left_out: tuple[str, ...] = ()
    """What of the versions the engine does not apply, in sentences."""

    def to_json(self) -> dict[str, object]:
        served = {"before": self.before.serves, "after": self.after.serves}
        named = {key: [{"version": str(one.ref), "name": str(name)} for one, name in value] for key, value in served.items()}
        facts = {"to_copy": self.to_copy, "same": self.same, "left_out": list(self.left_out)}
        return {"instance": str(self.after.instance), **named, **facts}


def plan_switch(
    library: Library, asking: ProjectName, name: InstanceName, model: ModelRef | None, *, back: bool, forget: bool = False,
    revision: int = 0,
) -> SwitchPlan:  # fmt: skip
    """Return what would change. Raises what a launch of it would raise, NothingToSwitch if there is nothing to go back to.

    `revision` is the one to go back to; 0 means the one before the last switch. A switch that was interrupted after the
    instance was recorded with the new version is resumed, and can still return to the former one.
    """
    with library.catalog.reading() as connection:
        there = instances.find(connection, asking, name)
        before = LaunchSpec(name, served_versions(connection, asking, there.serves), LaunchSettings.of(there), there)
        if back:
            past = _past(connection, asking, there, revision)
            after = replace(before, serves=served_versions(connection, asking, past.serves), settings=_settings(past, before))
        else:
            if model is None and not forget:
                raise NothingToSwitch(instance=name, reason="name a model, or give `--back`")
            after = before
            if model is not None:
                target = versions.require_selectable(versions.find(connection, asking, model), instances.using(there))
                after = replace(before, serves=_replaced(before.serves, target, name))
        recorded = _ids(before.serves) == _ids(after.serves)
        same = recorded and (is_running(library, there) or not (back or model))
        if recorded and not same:
            before = _former_of_interrupted(connection, asking, before) or before
        to_copy = sum(bytes_to_fetch(library, connection, asking, target) for target, _ in after.serves if target.image)
    plan = SwitchPlan(before, after, to_copy, same)
    if plan.same:
        return plan
    engine = engine_for(library, after)
    require_startable(library, asking, after)
    return replace(plan, left_out=tuple(note for target, _ in after.serves for note in left_out(library, engine.name, target)))


def forget_past(library: Library, asking: ProjectName, name: InstanceName) -> int:
    """Forget what the instance served before; return how many revisions went."""
    with library.catalog.writing() as connection:
        return templates.forget_past(connection, asking, templates.own_name(name))


def hold_both(library: Library, plan: SwitchPlan) -> None:
    """Let the instance hold the versions after the switch too, so that nobody evicts what is laid out for it."""
    assert plan.before.before is not None
    with library.catalog.writing() as connection:
        instances.hold(connection, plan.before.before, {target.id for target, _ in plan.after.serves})


def hold_before(library: Library, plan: SwitchPlan) -> None:
    """Let the instance hold only what it serves: nothing was switched. One whose switch is resumed keeps its way back."""
    assert plan.before.before is not None
    if instances.using(plan.before.before) == {target.id for target, _ in plan.after.serves}:
        return
    with library.catalog.writing() as connection:
        instances.hold_only_served(connection, plan.before.before)


def _ids(serves: Serves) -> set[tuple[VersionId, str]]:
    return {(target.id, str(name)) for target, name in serves}


def former(connection: Connection, asking: ProjectName, there: Instance) -> Template:
    """Return the newest earlier revision of the instance's own template that serves something else. Raises NothingToSwitch."""
    now = {(one.version_id, one.served_name) for one in there.serves}
    for past in templates.earlier(connection, asking, templates.own_name(there.name), there.revision):
        if {(one.version_id, one.served_name) for one in past.serves} != now:
            return past
    raise NothingToSwitch(instance=there.name, reason="no earlier version is recorded for it")


def _past(connection: Connection, asking: ProjectName, there: Instance, revision: int) -> Template:
    if not revision:
        return former(connection, asking, there)
    try:
        return templates.get(connection, asking, templates.own_name(there.name), revision)
    except NoSuchTemplate as error:
        reason = f"its revision {revision} is not recorded any more"
        raise NothingToSwitch(instance=there.name, reason=reason) from error


def former_of_interrupted(library: Library, asking: ProjectName, now: LaunchSpec) -> LaunchSpec | None:
    """Return what the instance served before a switch to this that was interrupted; None if none was."""
    with library.catalog.reading() as connection:
        return _former_of_interrupted(connection, asking, now)


def _former_of_interrupted(connection: Connection, asking: ProjectName, now: LaunchSpec) -> LaunchSpec | None:
    assert now.before is not None
    held = _still_held(connection, asking, now.before)
    if held is None:
        return None
    return replace(now, serves=served_versions(connection, asking, held.serves), settings=_settings(held, now))


def _settings(past: Template, before: LaunchSpec) -> LaunchSettings:
    """Return the settings of an earlier revision, at the instance's present address."""
    return replace(LaunchSettings.of(past), port=before.settings.port, bind=before.settings.bind)


def _still_held(connection: Connection, asking: ProjectName, there: Instance) -> Template | None:
    """Return the revision that an interrupted switch came from: until a switch is proven, the instance holds both."""
    beyond = instances.held(connection, there) - instances.using(there)
    for past in templates.earlier(connection, asking, templates.own_name(there.name), there.revision):
        if beyond and beyond <= {one.version_id for one in past.serves}:
            return past
    return None


def _replaced(before: Serves, target: versions.Version, name: InstanceName) -> Serves:
    """Return what is served afterwards. Raises NothingToSwitch if the callers of a name would get another kind of answer."""
    if len(before) == 1:
        served, name_served = before[0]
        if served.category != target.category:
            reason = f"{name_served} serves {served.category} and {target.ref} serves {target.category}: its callers would fail"
            raise NothingToSwitch(instance=name, reason=f"{reason}; launch {target.ref} as an instance of its own")
        return ((target, name_served),)
    same = [served for one, served in before if one.model == target.model]
    if len(same) != 1:
        reason = f"it serves {len(before)} models, and {len(same)} of them are called {target.model}"
        raise NothingToSwitch(instance=name, reason=reason)
    return tuple((target if served == same[0] else one, served) for one, served in before)
