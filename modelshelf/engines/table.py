"""Which engines there are, and which of them serve a format."""

from __future__ import annotations

from collections.abc import Sequence

from modelshelf.engines.contract import Engine
from modelshelf.engines.llamacpp import LlamaCpp
from modelshelf.engines.ollama import Ollama
from modelshelf.engines.vllm import Vllm
from modelshelf.errors import TypeMismatch
from modelshelf.formats.kinds import Format
from modelshelf.settings import Settings


def engine_called(name: str, settings: Settings) -> Engine:
    """The engine of that name, as this machine's settings have it."""
    engines: dict[str, Engine] = {"llamacpp": LlamaCpp(settings.llamacpp_server), "ollama": Ollama(), "vllm": Vllm()}
    return engines[name]


def require_served(engine: Engine, wanted: Sequence[tuple[object, Format]]) -> None:
    """Raise TypeMismatch, with every version that does not fit and both types named, unless the engine serves all."""
    others = [(what, format) for what, format in wanted if format not in engine.accepts]
    if others:
        raise TypeMismatch(
            engine=engine.name,
            accepted=" and ".join(sorted(engine.accepts)),
            found=" and ".join(f"{what} is {format}" for what, format in others),
        )
