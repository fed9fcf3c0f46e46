"""Why a model is not selectable here, or not visible in an instance: each cause, and the command that mends it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.engine import Connection

from modelshelf.catalog import instances, places, versions
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.leases import holding
from modelshelf.catalog.versions import Version
from modelshelf.engines.table import engine_called
from modelshelf.errors import NoSuchModel, Refused
from modelshelf.library import registering
from modelshelf.library.launching.prove import listing_differs
from modelshelf.library.opening import Library
from modelshelf.library.running import is_running, last_lines, log_file, seen_state
from modelshelf.names import ENGINES, InstanceName, ModelRef, ProjectName
from modelshelf.nodes.logs import this_start
from modelshelf.words import said_bytes

_MEMORY_WORDS = ("out of memory", "not enough memory", "cannot allocate", "failed to allocate", "bad_alloc", "oom")


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause: what is so, and the command that changes it."""

    because: str
    command: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def why_not_selectable(library: Library, asking: ProjectName, ref: ModelRef, engine: str | None = None) -> list[Cause]:
    """Everything that keeps the version from being launched or put into a template; empty if nothing does."""
    with library.catalog.reading() as connection:
        try:
            target = versions.find(connection, asking, ref)
        except NoSuchModel:
            because = f"project {asking} may see no {ref}: there is none, or it is private to another project"
            return [Cause(because, "modelshelf list, then modelshelf import SOURCE")]
        lease = holding(connection, target.lease)
        newer = _newer(connection, asking, target, ref)
    causes = []
    if target.state != "ready":
        causes.append(_incomplete(library, target, None if lease is None else lease.says))
    if target.disabled:
        causes.append(Cause(f"{target.ref} is disabled", f"modelshelf enable {target.ref}"))
    if newer is not None:
        because = f"{ref.tag} means {newer.name} since it was moved; {target.name} is replaced"
        causes.append(Cause(because, f"modelshelf launch {newer.ref}"))
    causes += _place_causes(library, target)
    if target.format is not None:
        causes += _type_causes(library, target, engine)
    return causes


def why_not_visible(library: Library, asking: ProjectName, ref: ModelRef, name: InstanceName) -> list[Cause]:
    """Everything that keeps the version from being served by the instance; empty if it is served."""
    with library.catalog.reading() as connection:
        which = instances.find(connection, asking, name)
        target = versions.find(connection, asking, ref)
        files = versions.files(connection, asking, target.id) if target.state == "ready" else ()
    if target.id not in {one.version_id for one in which.serves}:
        return [_not_mounted(which, target)]
    causes = _place_causes(library, target)
    if target.image is not None and not library.node.holds(target.image, files):
        because = "its files on this node are missing or not what was laid out"
        causes.append(Cause(because, f"modelshelf cache {target.ref} && modelshelf restart {name}"))
    state, reason = seen_state(library, which)
    if state == "starting":
        causes.append(Cause("the engine is still starting, or reads its weights", f"modelshelf logs {name}"))
    elif state != "ready":
        causes.append(_stopped(library, which, state, reason))
    elif is_running(library, which) and (differs := listing_differs(library, asking, which)) is not None:
        causes.append(Cause(differs, f"modelshelf restart {name}"))
    return causes


def _incomplete(library: Library, target: Version, says: str | None) -> Cause:
    if target.state == "importing" and says is not None:
        arrived = said_bytes(sum(size for _, size in library.store.partial()))
        return Cause(f"its image is not complete: {says} fetches it ({arrived} are being written)", "modelshelf runs")
    again = f"modelshelf import {target.source}"
    if target.state == "importing":
        return Cause("its image is not complete: the import was interrupted", again)
    return Cause(f"its image is not complete: it is {target.state}" + (f" ({target.reason})" if target.reason else ""), again)


def _newer(connection: Connection, asking: ProjectName, target: Version, ref: ModelRef) -> Version | None:
    """The version that the same upstream tag names now, if the one that was asked for by its own name is an older one."""
    if ref.tag is None or ref.tag != target.name:
        return None
    requested = target.name.text.rpartition("-")[0]
    for one in versions.of_model(connection, asking, target.model):
        if one.id != target.id and requested in {str(alias) for alias in one.aliases}:
            return one
    return None


def _place_causes(library: Library, target: Version) -> list[Cause]:
    if not target.in_place:
        return []
    with library.catalog.reading() as connection:
        at = places.of(connection, target)
    try:
        registering.require_here(library, target, at)
    except Refused as error:
        return [Cause(str(error), f"modelshelf register {target.source} --name {target.model}")]
    return []


def _type_causes(library: Library, target: Version, engine: str | None) -> list[Cause]:
    takes = [name for name in ENGINES if target.format in engine_called(name, library.settings).accepts]
    if engine is None or engine in takes:
        return []
    because = f"{engine} does not serve {target.format}"
    command = f"modelshelf launch {target.ref} --engine {takes[0]}" if takes else "modelshelf import another format"
    return [Cause(because, command)]


def _not_mounted(which: Instance, target: Version) -> Cause:
    same = [one for one in which.serves if one.ref.model == target.model]
    if same:
        because = f"{which.name} was launched with {same[0].ref}, before {target.name}"
        return Cause(because, f"modelshelf switch {which.name} {target.ref}")
    serves = ", ".join(str(one.ref) for one in which.serves)
    return Cause(f"the template of {which.name} does not contain it: it serves {serves}", f"modelshelf launch {target.ref}")


def _stopped(library: Library, which: Instance, state: str, reason: str | None) -> Cause:
    last = last_lines(this_start(log_file(library, which)), 20)
    if any(word in f"{last} {reason}".lower() for word in _MEMORY_WORDS):
        because = f"the engine ran out of memory: {last[-200:] or reason}"
        return Cause(
            because, f"modelshelf launch --template … with more --memory, or a smaller version; see modelshelf logs {which.name}"
        )
    because = f"the instance is {state}" + (f": {reason}" if reason else "")
    return Cause(because, f"modelshelf restart {which.name}")
