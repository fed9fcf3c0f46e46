"""Which engines there are, and which of them serve a format."""

from __future__ import annotations

from modelshelf.engines.contract import Engine
from modelshelf.engines.llamacpp import LlamaCpp
from modelshelf.errors import TypeMismatch
from modelshelf.formats.kinds import Format
from modelshelf.settings import Settings

NAMES = ("llamacpp",)


def engine_called(name: str, settings: Settings) -> Engine:
    """The engine of that name, as this machine's settings have it."""
    engines: dict[str, Engine] = {"llamacpp": LlamaCpp(settings.llamacpp_server)}
    return engines[name]


def require_served(engine: Engine, format: Format, what: object) -> None:
    """Raise TypeMismatch, with both types named, unless the engine serves the format."""
    if format not in engine.accepts:
        raise TypeMismatch(engine=engine.name, accepted=" and ".join(sorted(engine.accepts)), what=what, found=format)
