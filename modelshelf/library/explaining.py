"""Why a model is not selectable here, or not visible in an instance: each cause, and the command that mends it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from modelshelf.catalog import instances, places, versions
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.leases import holding
from modelshelf.catalog.versions import Version
from modelshelf.engines.table import engine_called
from modelshelf.errors import EngineMissing, NoSuchFilesystem, NoSuchModel, OtherRegion, PlaceChanged, Refused
from modelshelf.library import registering
from modelshelf.library.launching.choose import choose_engine, fits, is_installed, require_fitting
from modelshelf.library.launching.prove import listing_differs
from modelshelf.library.launching.request import LaunchSettings
from modelshelf.library.memory import launch_with_more
from modelshelf.library.opening import Library
from modelshelf.library.recovery import next_try
from modelshelf.library.running import is_running, last_lines, seen_state
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName
from modelshelf.states import InstanceState, VersionState
from modelshelf.words import first_sentence, of_project, said_bytes

_MEMORY = re.compile(
    r"that `--memory` allows|"
    r"out of memory|not enough memory|cannot allocate|failed to allocate|bad_alloc|\boom\b|oom[- ]?kill",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause: what is so, and the command that changes it."""

    because: str
    command: str
    hinders: bool = True
    """False for what is worth knowing and keeps nothing from being launched."""


HasKey = Callable[[str], bool | None]
"""Whether an engine key of that name is stored; None if that cannot be found out now."""


def unknown(_name: str) -> None:
    """Nobody can be asked for stored keys."""


def why_not_selectable(
    library: Library, asking: ProjectName, ref: ModelRef, engine: str | None = None, has_key: HasKey = unknown
) -> list[Cause]:
    """Return everything that keeps the version from being launched, with `engine` if one is named; empty if nothing does."""
    with library.catalog.reading() as connection:
        try:
            target = versions.find(connection, asking, ref)
        except NoSuchModel:
            because = f"project {asking} can see no {ref}: it does not exist, or is private to another project"
            return [Cause(because, f"modelshelf list{of_project(asking)}, then modelshelf import SOURCE{of_project(asking)}")]
        newer = _newer(connection, asking, target, ref)
        former = instances.lookup(connection, asking, InstanceName(target.model.text))
    causes = _version_causes(library, asking, target)
    if target.disabled:
        causes.append(Cause(f"{target.ref} is disabled", f"modelshelf enable {target.ref}{of_project(asking)}"))
    if target.format is not None:
        causes += _engine_causes(library, asking, target, engine)
    if former is not None and [one.version_id for one in former.serves] == [target.id]:
        causes += _key_causes(former, has_key, hinders=former.state != InstanceState.READY)
    if newer is not None:
        because = f"{target.name.text.rpartition('-')[0]} now names {newer.name}; {target.name} is the version before it"
        causes.append(Cause(because, f"modelshelf launch {newer.ref}{of_project(asking)}", hinders=False))
    return causes


def why_not_visible(
    library: Library, asking: ProjectName, ref: ModelRef, name: InstanceName, has_key: HasKey = unknown
) -> list[Cause]:
    """Return everything that keeps the version from being served by the instance; empty if it is served."""
    with library.catalog.reading() as connection:
        which = instances.find(connection, asking, name)
        target = versions.find(connection, asking, ref)
        files = versions.files(connection, asking, target.id) if target.state == VersionState.READY else ()
    if target.id not in {one.version_id for one in which.serves}:
        causes = [*_version_causes(library, asking, target), _not_mounted(asking, which, target)]
        return causes + _key_causes(which, has_key, hinders=False)
    again = f"modelshelf restart {name}{of_project(asking)}"
    causes = _version_causes(library, asking, target)
    if target.image is not None and not library.node.replicas.holds(target.image, files):
        causes.append(Cause("its files on this node are missing or have changed", again))
    state, reason = seen_state(library, which)
    if state == InstanceState.STARTING:
        logs = f"modelshelf logs {name}{of_project(asking)}"
        causes.append(Cause("the engine is still starting or loading its weights", logs))
    elif state != InstanceState.READY:
        causes.append(_stopped(library, asking, which, state, reason))
    elif not causes and is_running(library, which):
        differs = listing_differs(library, asking, which, seconds=library.limits.engine_look_seconds)
        causes += [Cause(differs, again)] if differs is not None else []
    return causes + _key_causes(which, has_key, hinders=state != InstanceState.READY)


def how_to_serve(library: Library, asking: ProjectName, target: Version) -> Cause | None:
    """Return the command that serves the version; None if it is not ready. Where nothing that serves it is installed, `because`
    says so and the command is what to install."""
    if target.state != VersionState.READY or target.format is None:
        return None
    causes = _engine_causes(library, asking, target, None)
    return causes[0] if causes else Cause("", f"modelshelf launch {target.ref}{of_project(asking)}", hinders=False)


def _version_causes(library: Library, asking: ProjectName, target: Version) -> list[Cause]:
    """Return what is wrong with the version itself, and with where it lies in place."""
    if target.state == VersionState.READY:
        return _place_causes(library, asking, target)
    with library.catalog.reading() as connection:
        lease = holding(connection, target.lease)
    if target.state == VersionState.IMPORTING and lease is not None:
        arrived = said_bytes(sum(one.arrived for one in library.store.arriving()))
        because = f"its image is not complete: {lease.says} is fetching it ({arrived} so far)"
        return [Cause(because, "modelshelf runs")]
    now = "its import was interrupted" if target.state == VersionState.IMPORTING else f"it is {target.state}"
    reason = f" ({target.reason})" if target.reason else ""
    return [Cause(f"its image is not complete; {now}{reason}", _bring_in_again(asking, target))]


def _bring_in_again(asking: ProjectName, target: Version) -> str:
    named = f" --name {target.model}{of_project(asking)}"
    if target.source.startswith("fs://"):
        return f"modelshelf register {target.source}{named}"
    if target.source.startswith("instance://"):
        instance, _, model = target.source.removeprefix("instance://").partition("/")
        return f"modelshelf save {instance} {model}{named}"
    return f"modelshelf import {target.source}{named}"


def _newer(connection: Connection, asking: ProjectName, target: Version, ref: ModelRef) -> Version | None:
    """Return the version that the same upstream tag names now, if `ref` names an older one by its own name."""
    if ref.tag is None or ref.tag != target.name:
        return None
    requested = target.name.text.rpartition("-")[0]
    for one in versions.of_model(connection, asking, target.model):
        if one.id != target.id and requested in {str(alias) for alias in one.aliases}:
            return one
    return None


def _place_causes(library: Library, asking: ProjectName, target: Version) -> list[Cause]:
    if not target.in_place:
        return []
    with library.catalog.reading() as connection:
        at = places.of(connection, target)
    try:
        registering.require_here(library, target, at)
    except PlaceChanged as error:
        return [Cause(first_sentence(error.sentence), _bring_in_again(asking, target))]
    except OtherRegion as error:
        mounted = library.settings.filesystems.get(str(at.filesystem))
        command = f"modelshelf launch {target.ref}{of_project(asking)} on a machine in the region {at.region}"
        if mounted is not None:
            command = f"modelshelf import {mounted.path / str(at.folder)} --name {target.model}-copy{of_project(asking)}"
        return [Cause(first_sentence(error.sentence), command)]
    except NoSuchFilesystem as error:
        command = f"add [filesystems.{at.filesystem}] with `path` and `region` to {library.settings.home / 'config.toml'}"
        return [Cause(first_sentence(error.sentence), command)]
    return []


def _engine_causes(library: Library, asking: ProjectName, target: Version, engine: str | None) -> list[Cause]:
    """Return why the named engine, or the one that would be chosen, cannot serve the version on this machine."""
    serves = ((target, ServedName(target.model.text)),)
    best = engine_called(choose_engine(library, serves))
    asked = engine_called(engine) if engine is not None else best
    try:
        require_fitting(asked, serves)
        library.node.require(asked.name)
    except EngineMissing as error:
        usable = best.name != asked.name and fits(best, serves) and is_installed(library, best)
        other = f"modelshelf launch {target.ref} --engine {best.name}{of_project(asking)}"
        return [Cause(first_sentence(error.sentence), other if usable else error.facts["advice"])]
    except Refused as error:
        if not fits(best, serves):
            return [Cause(first_sentence(error.sentence), "modelshelf list")]
        if is_installed(library, best):
            return [
                Cause(first_sentence(error.sentence), f"modelshelf launch {target.ref} --engine {best.name}{of_project(asking)}")
            ]
        return [Cause(first_sentence(error.sentence), _advice(library, best.name))]
    return []


def _advice(library: Library, engine: str) -> str:
    """Return what to install for an engine that is missing."""
    try:
        library.node.require(engine)
    except EngineMissing as error:
        return error.facts["advice"]
    return ""


def _key_causes(which: Instance, has_key: HasKey, *, hinders: bool) -> list[Cause]:
    """Return whether the engine key that the instance was launched with is missing: no start goes on without it."""
    key = LaunchSettings.of(which).key_block
    if not key or (stored := has_key(key)):
        return []
    if stored is None:
        because = f"whether the engine key {key} of {which.name} is still stored was not checked: no Prefect server answers"
        return [Cause(because, "modelshelf logins", hinders=False)]
    because = f"the engine key {key}, with which {which.name} was launched, is not stored any more: it cannot be started again"
    return [Cause(because, f"modelshelf login engine {key}", hinders=hinders)]


def _not_mounted(asking: ProjectName, which: Instance, target: Version) -> Cause:
    same = [one for one in which.serves if one.ref.model == target.model]
    if same:
        because = f"{which.name} serves {same[0].ref}, another version of the same model"
        return Cause(because, f"modelshelf switch {which.name} {target.ref}{of_project(asking)}")
    serves = ", ".join(str(one.ref) for one in which.serves)
    because = f"the template of {which.name} does not include it: it serves {serves}"
    return Cause(because, f"modelshelf launch {target.ref}{of_project(asking)}")


def _stopped(library: Library, asking: ProjectName, which: Instance, state: InstanceState, reason: str | None) -> Cause:
    again = f"modelshelf restart {which.name}{of_project(asking)}"
    log = library.node.log_of_start(which.label)
    found = _MEMORY.search(f"{reason}\n{log}") if state == InstanceState.FAILED else None
    if found is not None:
        words = reason or last_lines(log, 5)
        if LaunchSettings.of(which).memory:
            return Cause(f"the engine ran out of memory: {words}", launch_with_more(which))
        because = f"the engine ran out of memory: {words}"
        return Cause(because, f"stop instances that are not needed (modelshelf instances{of_project(asking)}), then {again}")
    because = "; ".join(words for words in (reason, next_try(library, which, state)) if words)
    return Cause(f"the instance is {state}" + (f": {because}" if because else ""), again)
