"""Which engines there are, the preferred ones first, and which of them serve a format and a category.

A new engine is a file that keeps `contract.Engine`, and a line here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from modelshelf.errors import CategoryMismatch, NoSuchEngine, TypeMismatch
from modelshelf.formats.kinds import Format

if TYPE_CHECKING:  # who only completes or checks a name needs no HTTP client
    from modelshelf.engines.contract import Engine

_CLASSES = {
    "llamacpp": "LlamaCpp",
    "ollama": "Ollama",
    "vllm": "Vllm",
}
"""The class of each engine, in the module of its name."""

ENGINES = tuple(_CLASSES)


@cache
def engine_called(name: str) -> Engine:
    """Return the engine of that name. Raises NoSuchEngine."""
    if name not in _CLASSES:
        raise NoSuchEngine(engine=name, known=", ".join(ENGINES))
    engine: Engine = getattr(import_module(f"modelshelf.engines.{name}"), _CLASSES[name])()
    return engine


def serving(format: Format | None) -> tuple[str, ...]:
    """Return the engines that take the format, the preferred ones first; all for an unknown one."""
    return tuple(name for name in ENGINES if format is None or format in engine_called(name).accepts)


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
        for name in ENGINES
        if all(
            format in engine_called(name).accepts and category in engine_called(name).categories for _, format, category in wanted
        )
    ]
    return (
        f"Choose an engine that serves it: {' or '.join(f'`--engine {name}`' for name in able)}."
        if able
        else "No engine serves it."
    )
