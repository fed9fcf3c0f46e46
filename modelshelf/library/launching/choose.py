"""Which engine serves where nobody names one, and what of a version it leaves out."""

from __future__ import annotations

from collections.abc import Sequence

from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.engines.contract import Engine, Model
from modelshelf.engines.table import engine_called, require_served, serving
from modelshelf.errors import BadDigest, BlobMissing, EngineMissing, Refused, TooManyModels
from modelshelf.formats.kinds import Format
from modelshelf.library.launching.contents import contents_of
from modelshelf.library.opening import Library
from modelshelf.names import ServedName


def choose_engine(
    library: Library, serves: Sequence[tuple[Version, ServedName]], *, key: bool = False, arguments: bool = False
) -> str:
    """Return the name of the engine that serves all of these in one instance.

    GGUF is served by llama.cpp, else by Ollama; safetensors by vLLM. An Ollama version of which llama.cpp would leave out
    something is served by Ollama. An engine that takes the `key` or the `arguments` that are asked for is chosen before one
    that does not, and an installed engine before a missing one. If none fits, the one that comes closest is returned: its
    own rules raise what is wrong.
    """
    names = preferred(library, serves)
    engines = [engine_called(name) for name in names]
    fitting = [engine for engine in engines if fits(engine, serves)] or engines
    asked = [one for one in fitting if (one.takes_key or not key) and (one.takes_arguments or not arguments)]
    candidates = asked or fitting
    return next((engine for engine in candidates if is_installed(library, engine)), candidates[0]).name


def preferred(library: Library, serves: Sequence[tuple[Version, ServedName]]) -> tuple[str, ...]:
    """Return the engines of the first version's format, the best one first."""
    names = serving(serves[0][0].format)
    return tuple(sorted(names, key=lambda name: any(left_out(library, name, version) for version, _ in serves)))


def fits(engine: Engine, serves: Sequence[tuple[Version, ServedName]]) -> bool:
    """Return whether the engine serves all of these in one instance, installed or not."""
    try:
        require_fitting(engine, serves)
    except Refused:
        return False
    return True


def require_fitting(engine: Engine, serves: Sequence[tuple[Version, ServedName]]) -> None:
    """Raise TypeMismatch, CategoryMismatch, BadName or TooManyModels unless the engine serves all of these in one instance."""
    require_served(engine, [(target.ref, target.format, target.category) for target, _ in serves if target.format is not None])
    engine.require_names([served for _, served in serves])
    if len(serves) > engine.models_at_once:
        raise TooManyModels(engine=engine.name, most=engine.models_at_once, found=len(serves))


def is_installed(library: Library, engine: Engine) -> bool:
    try:
        library.node.require(engine.name)
    except EngineMissing:
        return False
    return True


def left_out(library: Library, engine: str, target: Version) -> tuple[str, ...]:
    """Return in sentences what of an Ollama version the engine does not apply. Reads its manifest and parameters in the store."""
    found = engine_called(engine)
    if target.format is not Format.OLLAMA or target.format not in found.accepts:
        return ()
    try:
        contents = contents_of(library, Digest(target.resolved))  # the pin of an Ollama version is its manifest's digest
        return found.left_out(Model(ServedName("model"), target.category, target.format, (), contents=contents))
    except (BadDigest, BlobMissing, ValueError, KeyError, TypeError):  # the launch itself refuses a damaged version
        return ()
