"""llama.cpp: the server in the wheel `xllamacpp`, or any executable that takes the arguments of `llama-server`."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from modelshelf.engines.contract import Command, Listen, Mounted
from modelshelf.engines.openai_api import OpenAiApi
from modelshelf.errors import EngineMissing, NothingToServe
from modelshelf.formats.image import ModelFile
from modelshelf.formats.kinds import Format, Role
from modelshelf.names import ServedName

_MODEL, _PROJECTOR = "application/vnd.ollama.image.model", "application/vnd.ollama.image.projector"
_NOT_APPLIED = {
    "application/vnd.ollama.image.template": "its prompt template (llama.cpp uses the one in the GGUF, else a default)",
    "application/vnd.ollama.image.params": "its parameters (give them after `--`)",
    "application/vnd.ollama.image.system": "its system message",
    "application/vnd.ollama.image.messages": "its example messages",
    "application/vnd.ollama.image.adapter": "its adapter",
}


def left_out_of(media_types: Collection[str]) -> tuple[str, ...]:
    """Return in sentences what of an Ollama version with these layers llama.cpp does not apply."""
    return tuple(f"llama.cpp leaves out {what}." for kind, what in _NOT_APPLIED.items() if kind in media_types)


_SWITCHES = {"embedding": ("--embeddings",), "reranker": ("--reranking",)}


class LlamaCpp(OpenAiApi):
    """Serves one GGUF, also the one in a version that came from an Ollama registry."""

    name = "llamacpp"
    accepts = frozenset({Format.GGUF, Format.OLLAMA})
    categories = frozenset({"chat", "embedding", "reranker"})
    takes_key = True
    models_at_once = 1

    def __init__(self, executable: str | None = None) -> None:
        self._executable = executable

    def require_installed(self) -> None:
        self._server()

    def command(self, mounted: Sequence[Mounted], listen: Listen, arguments: Sequence[str], cpus: int = 0) -> Command:
        (one,) = mounted
        model, projector, left_out = _ollama_layers(one) if one.format is Format.OLLAMA else _gguf_files(one)
        command = [*self._server(), "--model", str(one.folder / str(model.path)), "--alias", str(one.served_name)]
        command += ["--host", listen.bind, "--port", str(listen.port)]
        if projector is not None:
            command += ["--mmproj", str(one.folder / str(projector.path))]
        if listen.key_file is not None:
            command += ["--api-key-file", str(listen.key_file)]
        command += _SWITCHES.get(one.category, ())
        return Command((*command, *arguments), left_out=left_out)

    def lay_out(self, mounted: Sequence[Mounted], own: Path) -> None:
        """It reads the replica as it is."""

    def listed_name(self, served: ServedName) -> str:
        return str(served)

    def identity(self, mounted: Mounted) -> None:
        return None

    def _server(self) -> list[str]:
        if self._executable is not None:
            if (found := shutil.which(self._executable)) is None:
                advice = "Correct `llamacpp_server` in config.toml, or remove it to use the server in the wheel xllamacpp."
                raise EngineMissing(engine=self.name, reason=f"{self._executable} cannot be executed", advice=advice)
            return [found]
        if importlib.util.find_spec("xllamacpp") is None:
            advice = "`pip install xllamacpp`, or name a llama-server with `llamacpp_server` in config.toml."
            raise EngineMissing(engine=self.name, reason="the Python package xllamacpp is not installed", advice=advice)
        return [sys.executable, "-m", "modelshelf.engines.llama_server"]


def _gguf_files(one: Mounted) -> tuple[ModelFile, ModelFile | None, tuple[str, ...]]:
    weights = [file for file in one.files if file.path.suffix == ".gguf"]
    projectors = [file for file in weights if "mmproj" in file.path.name.lower()]
    models = [file for file in weights if file not in projectors]
    if not models:
        raise NothingToServe(what=one.served_name, engine="llamacpp", reason="it has no GGUF")
    return models[0], projectors[0] if projectors else None, ()  # of shards, llama.cpp wants the first


def _ollama_layers(one: Mounted) -> tuple[ModelFile, ModelFile | None, tuple[str, ...]]:
    manifest = json.loads((one.folder / "manifest.json").read_bytes())
    by_path = {str(file.path): file for file in one.files}
    layers = {layer["mediaType"]: by_path[f"blobs/{layer['digest'].replace(':', '-')}"] for layer in manifest["layers"]}
    if _MODEL not in layers or layers[_MODEL].role is not Role.WEIGHT:
        raise NothingToServe(what=one.served_name, engine="llamacpp", reason="its manifest has no model layer")
    return layers[_MODEL], layers.get(_PROJECTOR), left_out_of(layers)
