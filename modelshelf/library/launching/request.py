"""What a launch is asked for: the instance, what it serves, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from modelshelf.catalog import instances, templates, versions
from modelshelf.catalog.versions import Version
from modelshelf.errors import BadSetting
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName, TemplateName

Serves = tuple[tuple[Version, ServedName], ...]
"""What an instance shall serve, each version under its served name."""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What someone asks for; kept in the template's revision, so that a restart asks for the same. No secret is in it."""

    engine: str = "llamacpp"
    bind: str = "127.0.0.1"
    port: int = 0
    """0 is any free port; the one that was taken is kept through restarts."""
    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    """`NAME=VALUE`, for the engine."""
    cpus: int = 0
    """Processors that it may use; 0 is all."""
    memory: int = 0
    """Bytes that it may allocate, beside the weights that it maps; 0 is no limit."""
    key_block: str = ""
    unprotected: bool = False
    template: str = ""
    """`name@revision` of the template that it was launched from."""

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "arguments": list(self.arguments), "environment": list(self.environment)}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> LaunchRequest:
        known = {key: value for key, value in said.items() if key in cls.__slots__}
        for key in ("arguments", "environment"):
            known[key] = tuple(known.get(key, ()))
        return cls(**known)


def asked_for(
    library: Library, asking: ProjectName, *, model: ModelRef | None, template: TemplateName | None, served: ServedName | None,
    name: InstanceName | None, request: LaunchRequest,
) -> tuple[InstanceName, Serves, LaunchRequest]:  # fmt: skip
    """What a launch means: a model, a template, or the instance of that name as it was started before.

    What is asked for wins over the template. Where nothing is, an instance that is launched again keeps what it had.
    """
    with library.catalog.reading() as connection:
        there = instances.lookup(connection, asking, name) if name is not None else None
        if template is not None:
            found = templates.get(connection, asking, template)
            kept = LaunchRequest.from_json({**found.settings, "engine": found.engine, "template": f"{template}@{found.number}"})
            serves = tuple((versions.get(connection, asking, one.version_id), one.served_name) for one in found.serves)
            return name or InstanceName(template.text), serves, _merged(kept, request)
        if model is not None:
            target = versions.require_ready(versions.find(connection, asking, model))
            name = name or InstanceName(target.model.text)
            there = there or instances.lookup(connection, asking, name)
            same = there is not None and [one.version_id for one in there.serves] == [target.id]
            if there is not None and same and request == LaunchRequest():
                return name, ((target, served or there.serves[0].served_name),), LaunchRequest.from_json(there.settings)
            return name, ((target, served or ServedName(target.model.text)),), request
        if name is None:
            raise BadSetting(where="a launch", reason="it names no model, no template and no instance")
        there = instances.find(connection, asking, name)
        serves = tuple((versions.get(connection, asking, one.version_id), one.served_name) for one in there.serves)
        return name, serves, LaunchRequest.from_json(there.settings)


def _merged(kept: LaunchRequest, asked: LaunchRequest) -> LaunchRequest:
    """The template's settings, and what was asked for in their place where it is not the default."""
    default = LaunchRequest()
    changed = {key: getattr(asked, key) for key in LaunchRequest.__slots__ if getattr(asked, key) != getattr(default, key)}
    return replace(kept, **changed)
