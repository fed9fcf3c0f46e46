"""Which engines there are, and which of them serve a format and a category."""

from __future__ import annotations

from collections.abc import Sequence

from modelshelf.engines.contract import Engine
from modelshelf.engines.llamacpp import LlamaCpp
from modelshelf.engines.ollama import Ollama
from modelshelf.engines.vllm import Vllm
from modelshelf.errors import CategoryMismatch, TypeMismatch
from modelshelf.formats.kinds import Format

_ENGINES: dict[str, Engine] = {engine.name: engine for engine in (LlamaCpp(), Ollama(), Vllm())}


def engine_called(name: str) -> Engine:
    """Return the engine of that name."""
    return _ENGINES[name]


def require_served(engine: Engine, wanted: Sequence[tuple[object, Format, str]]) -> None:
    """Raise TypeMismatch or CategoryMismatch, with every version that does not fit, unless the engine serves all.

    `wanted` is the name, format and category of each version.
    """
    others = [(what, format) for what, format, _ in wanted if format not in engine.accepts]
    if others:
        raise TypeMismatch(
            engine=engine.name,
            accepted=" and ".join(sorted(engine.accepts)),
            found=" and ".join(f"{what} is {format}" for what, format in others),
        )
    strangers = [(what, format, category) for what, format, category in wanted if category not in engine.categories]
    if strangers:
        raise CategoryMismatch(
            engine=engine.name,
            accepted=", ".join(sorted(engine.categories)),
            found=" and ".join(f"the category of {what} is {category}" for what, _, category in strangers),
            others=_others(strangers),
        )


def _others(wanted: Sequence[tuple[object, Format, str]]) -> str:
    """The sentence that names the engines that serve all of these."""
    able = [
        name
        for name, engine in _ENGINES.items()
        if all(format in engine.accepts and category in engine.categories for _, format, category in wanted)
    ]
    return (
        f"Choose an engine that serves it: {' or '.join(f'`--engine {name}`' for name in able)}."
        if able
        else "No engine serves it."
    )
