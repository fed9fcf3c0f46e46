"""What a launch is asked for, and what comes of it: the instance, what it serves, and its settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from sqlalchemy.engine import Connection

from modelshelf.catalog import instances, templates, versions
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.templates import Serving, Template
from modelshelf.catalog.versions import Version
from modelshelf.errors import BadSetting
from modelshelf.library.launching.choose import choose_engine
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName, TemplateName

Serves = tuple[tuple[Version, ServedName], ...]
"""The versions that an instance serves, each with its served name."""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What a person asks for. None: nothing was asked, which is not the same as asking for the default."""

    engine: str | None = None
    bind: str | None = None
    port: int | None = None
    arguments: tuple[str, ...] | None = None
    environment: tuple[str, ...] | None = None
    cpus: int | None = None
    memory: int | None = None
    key_block: str | None = None
    unprotected: bool | None = None

    def asked(self) -> dict[str, Any]:
        """Return the fields that were asked for."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True)
class LaunchSettings:
    """How an instance runs. Kept in its template's revision, so that a restart uses the same. Holds no secret."""

    engine: str
    bind: str = "127.0.0.1"
    port: int = 0
    """0 is any free port; the one that was taken is kept through restarts."""
    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    """`NAME=VALUE`, for the engine."""
    cpus: int = 0
    """The most processors that the engine may use; 0 is all."""
    memory: int = 0
    """The most bytes that all processes of the instance may use together; 0 is no limit."""
    key_block: str = ""
    unprotected: bool = False
    template: str = ""
    """`name@revision` of the template that the instance was launched from."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "arguments": list(self.arguments), "environment": list(self.environment)}

    @classmethod
    def of(cls, source: Instance | Template) -> Self:
        """Read the settings that an instance or a template was written with, by this or an earlier release."""
        stored = {**source.settings, "engine": source.engine}
        known = {key: value for key, value in stored.items() if key in cls.__slots__ and value is not None}
        for key in ("arguments", "environment"):
            known[key] = tuple(known.get(key, ()))
        return cls(**known)

    def changed_by(self, request: LaunchRequest) -> Self:
        """Return these settings with each field replaced that was asked for.

        `unprotected` was given for one address: another address asks for it again.
        """
        asked = request.asked()
        if asked.get("bind", self.bind) != self.bind:
            asked.setdefault("unprotected", False)
        return replace(self, **asked)


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What a launch means: resolved once, and the same for every step."""

    instance: InstanceName
    serves: Serves
    settings: LaunchSettings
    before: Instance | None = field(default=None, compare=False)
    """The instance of that name as its row was when this was resolved."""


def resolve(
    library: Library, asking: ProjectName, *, model: ModelRef | None, template: TemplateName | None, served: ServedName | None,
    name: InstanceName | None, request: LaunchRequest,
) -> LaunchSpec:  # fmt: skip
    """Return what a launch of a model, a template, or the instance of that name means.

    Each field that is asked for replaces what the template, or the instance when it is launched again with the same version,
    was defined with. Where nothing names an engine, it is chosen by format and by what is installed.
    """
    with library.catalog.reading() as connection:
        if template is not None:
            found = templates.get(connection, asking, template)
            name = name or InstanceName(template.text)
            settings = replace(LaunchSettings.of(found).changed_by(request), template=f"{template}@{found.number}")
            there = instances.lookup(connection, asking, name)
            return LaunchSpec(name, served_versions(connection, asking, found.serves), settings, there)
        if model is not None:
            target = versions.require_ready(versions.find(connection, asking, model))
            name = name or InstanceName(target.model.text)
            there = instances.lookup(connection, asking, name)
            if there is not None and [one.version_id for one in there.serves] == [target.id]:
                serves: Serves = ((target, served or there.serves[0].served_name),)
                return LaunchSpec(name, serves, LaunchSettings.of(there).changed_by(request), there)
            serves = ((target, served or ServedName(target.model.text)),)
            key, arguments = bool(request.key_block), bool(request.arguments)
            chosen = request.engine or choose_engine(library, serves, key=key, arguments=arguments)
            settings = LaunchSettings(chosen).changed_by(request)
            return LaunchSpec(name, serves, settings, there)
        if name is None:
            raise BadSetting(where="a launch", reason="it names no model, no template and no instance")
        there = instances.find(connection, asking, name)
        serves = served_versions(connection, asking, there.serves)
        return LaunchSpec(name, serves, LaunchSettings.of(there).changed_by(request), there)


def again(library: Library, asking: ProjectName, name: InstanceName) -> LaunchSpec:
    """Return what the instance was started with. Raises NoSuchInstance."""
    return resolve(library, asking, model=None, template=None, served=None, name=name, request=LaunchRequest())


def served_versions(connection: Connection, asking: ProjectName, serving: tuple[Serving, ...]) -> Serves:
    found = versions.get_each(connection, asking, [one.version_id for one in serving])
    return tuple((target, one.served_name) for target, one in zip(found, serving, strict=True))
