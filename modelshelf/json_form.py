"""What people and programs are shown of a value: plans, reports and findings as JSON. Decision 0027."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, Protocol, runtime_checkable

from modelshelf.digest import Digest
from modelshelf.names import FilePath, ModelRef, Name

_WRITTEN = (Name, FilePath, ModelRef, Digest, PurePath)
"""Values with a written form of their own."""


@runtime_checkable
class _Formed(Protocol):
    """A value whose form is another than its fields."""

    def to_json(self) -> dict[str, Any]: ...


def as_json(value: object) -> Any:
    """Return the value as JSON has it: names, digests and paths as text, a dataclass by its fields, and by its properties too
    if it names them in `JSON_ALSO`, or as its own `to_json` says. Raises TypeError for what nobody has decided a form of."""
    match value:
        case None | bool() | int() | float():
            return value
        case Enum():
            return as_json(value.value)
        case str():
            return str(value)
    if isinstance(value, _WRITTEN):
        return str(value)
    if isinstance(value, _Formed) and not isinstance(value, type):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        named = [field.name for field in fields(value)] + list(getattr(value, "JSON_ALSO", ()))
        return {name: as_json(getattr(value, name)) for name in named}
    if isinstance(value, Mapping):
        return {str(as_json(key)): as_json(item) for key, item in value.items()}
    if isinstance(value, Collection) and not isinstance(value, bytes):
        return [as_json(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")
