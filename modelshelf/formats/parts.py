"""Which file of a version is the model, and what goes with it to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from modelshelf.names import FilePath


@dataclass(frozen=True, slots=True)
class Parts:
    """The files that an engine is given by name. Decided once, at import, and kept in the catalog.

    A model in several files is named by its first; `model` is None where the whole folder is the model (safetensors).
    """

    model: FilePath | None
    projectors: tuple[FilePath, ...] = ()
    """Encoders of images or audio that go with the model (`mmproj`)."""
    adapters: tuple[FilePath, ...] = ()
    """Low-rank adapters (LoRA) of the model."""
    drafts: tuple[FilePath, ...] = ()
    """Smaller models that guess ahead for it."""

    def to_json(self) -> dict[str, Any]:
        listed = {name: [str(path) for path in getattr(self, name)] for name in ("projectors", "adapters", "drafts")}
        return {"model": str(self.model) if self.model is not None else None, **listed}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        def paths(name: str) -> tuple[FilePath, ...]:
            return tuple(FilePath(path) for path in stored.get(name, ()))

        model = stored.get("model")
        return cls(FilePath(model) if model else None, paths("projectors"), paths("adapters"), paths("drafts"))
