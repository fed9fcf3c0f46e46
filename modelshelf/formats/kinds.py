"""The words for what a model is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


@dataclass(frozen=True, slots=True)
class Facts:
    """What the headers of the weights say; None is unknown, never guessed."""

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
