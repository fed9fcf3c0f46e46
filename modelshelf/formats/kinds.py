"""The words for what a model is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from modelshelf.names import Category


class Format(StrEnum):
    """Fixed at import; decides which engines can serve a version."""

    GGUF = "gguf"
    SAFETENSORS = "safetensors"
    OLLAMA = "ollama"


class Role(StrEnum):
    """What a file is in the model data image (ModelPack specification, "Layer Media Types")."""

    WEIGHT = "weight"
    CONFIG = "weight.config"
    DOC = "doc"
    CODE = "code"


class PartKind(StrEnum):
    """What one file of weights is to an engine."""

    MODEL = "model"
    PROJECTOR = "projector"
    ADAPTER = "adapter"
    DRAFT = "draft"
    OTHER = "other"
    """Nothing that an engine is given: an importance matrix, a control vector."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the files say of a model; None is unknown, never guessed."""

    architecture: str | None = None
    parameters: int | None = None
    precision: str | None = None
    """Element type of unquantised weights, as the file names it."""
    quantization: str | None = None
    context_length: int | None = None
    chat_template: bool = False
    """The weights carry a template for conversations of their own."""
    license: str | None = None
    """As the header names it."""
    category: Category | None = None
    """What the files say the model is used for."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of one file of weights says: of the model, and of the file's own place in it."""

    facts: Facts
    kind: PartKind | None = None
    """None where the header says nothing of it: the file's name is asked then."""
    shard: int | None = None
    """The file's number in its set, from 0; None for a whole file."""
    shards: int = 1
    """How many files its set has."""
