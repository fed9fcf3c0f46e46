"""llama.cpp: the server in the wheel `xllamacpp`, or any executable that takes the arguments of `llama-server`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelshelf.engines import ollama_layers
from modelshelf.engines.arguments import require_undecided
from modelshelf.engines.contract import Command, Layout, Model, Program, Surroundings
from modelshelf.engines.ollama_layers import MANIFEST, blob_path
from modelshelf.engines.openai_api import OpenAiApi
from modelshelf.errors import BadSetting, NothingToServe
from modelshelf.formats.kinds import Format, Role
from modelshelf.formats.parts import Parts
from modelshelf.limits import DEFAULT
from modelshelf.names import FilePath, ServedName

_SWITCHES = {"embedding": "--embeddings", "reranker": "--reranking"}
_ENVIRONMENT = {
    "GGML_NO_BACKTRACE": "1",  # else a debugger is started on it when it aborts, and fills the log
    "LLAMA_ARG_CORS_ORIGINS": "localhost",  # else any web page may read its answers; older servers do not know the setting
}


_ADDRESS, _NAME, _KEY, _MODEL = "give `--bind`", "give `--name`", "give `--key`", "name the model to `modelshelf launch`"
_PLAIN = "it is asked by HTTP at `/health` and `/v1`; put a proxy in front for anything else"
_DECIDED = {
    "--host": _ADDRESS, "--port": "give `--port` before the `--`", "--alias": _NAME, "--api-key": _KEY, "--api-key-file": _KEY,
    "--model": _MODEL, "--model-url": _MODEL, "--hf-repo": _MODEL, "--hf-file": _MODEL, "--docker-repo": _MODEL,
    "--models-dir": _MODEL, "--models-preset": _MODEL,
    "--api-prefix": _PLAIN, "--ssl-key-file": _PLAIN, "--ssl-cert-file": _PLAIN,
}  # fmt: skip
_DECIDED_SHORT = ("-m", "-mu", "-a", "-hf", "-hfr", "-hff", "-dr")
_DECIDED_ENVIRONMENT = {
    "LLAMA_API_KEY": _KEY, "LLAMA_ARG_MODEL_URL": _MODEL, "LLAMA_ARG_HF_REPO": _MODEL, "LLAMA_ARG_DOCKER_REPO": _MODEL,
    "LLAMA_ARG_API_PREFIX": _PLAIN, "LLAMA_ARG_SSL_KEY_FILE": _PLAIN, "LLAMA_ARG_SSL_CERT_FILE": _PLAIN,
}  # fmt: skip
"""What `llama-server` takes from its environment where we give no argument that wins."""


@dataclass(frozen=True, slots=True)
class _Files:
    """What the server is given of a version, and with which options."""

    model: FilePath
    projectors: tuple[FilePath, ...]
    adapters: tuple[FilePath, ...]
    options: tuple[str, ...] = ()


class LlamaCpp(OpenAiApi):
    """Serves one GGUF, also the one in a version that came from an Ollama registry."""

    name = "llamacpp"
    accepts = frozenset({Format.GGUF, Format.OLLAMA})
    categories = frozenset({"chat", "embedding", "reranker"})
    takes_key = True
    takes_arguments = True
    has_templates = False
    kept_models = None
    models_at_once = 1
    smaller = "-- --ctx-size 4096"
    program = Program(
        module="modelshelf.engines.llama_server",
        package="xllamacpp",
        advice="`pip install xllamacpp`, or name a llama-server with `llamacpp_server` in config.toml.",
        setting="llamacpp_server",
        setting_advice="Correct `llamacpp_server` in config.toml, or remove it to use the server in the wheel xllamacpp.",
    )

    def command(self, models: Sequence[Model], at: Surroundings, arguments: Sequence[str], cpus: int = 0) -> Command:
        (model,), (folder,) = models, at.folders
        files = _files(model)
        command = ["--model", str(folder / str(files.model)), "--alias", str(model.served_name)]
        command += ["--host", at.bind, "--port", str(at.port)]
        for path in files.projectors[:1]:
            command += ["--mmproj", str(folder / str(path))]
        for path in files.adapters:
            command += ["--lora", str(folder / str(path))]
        if at.key_file is not None:
            command += ["--api-key-file", str(at.key_file)]
        command += [*_sizes(model), *files.options]  # of an option that is given twice, the last counts
        if cpus:
            command += ["--threads", str(cpus)]
        return Command((*command, *arguments), _ENVIRONMENT)

    def left_out(self, model: Model) -> tuple[str, ...]:
        if model.format is Format.OLLAMA:
            return _applied(model).left_out
        found = _parts(model)
        extra = {"its projectors after the first": found.projectors[1:], "its draft model": found.drafts}
        return tuple(f"llama.cpp does not apply {what}." for what, paths in extra.items() if paths)

    def layout(self, models: Sequence[Model]) -> Layout:
        """Return an empty one: it reads the files as they are."""
        return Layout()

    def require_arguments(self, arguments: Sequence[str]) -> None:
        require_undecided(arguments, _DECIDED, _DECIDED_SHORT)

    def require_environment(self, environment: Mapping[str, str]) -> None:
        for name, instead in _DECIDED_ENVIRONMENT.items():
            if name in environment:
                raise BadSetting(where="the environment", reason=f"{name} is decided by modelshelf; {instead}")

    def listed_name(self, served: ServedName) -> str:
        return str(served)

    def identity(self, model: Model) -> None:
        return None


def _sizes(one: Model) -> list[str]:
    """The switch of the category, and sizes that are said always: the wheel and other servers have other defaults.

    An embedding or a score needs its whole text in one physical batch.
    """
    context = min(one.context_length or DEFAULT.context_tokens, DEFAULT.context_tokens)
    sizes = ["--ctx-size", str(context), "--parallel", "1"]
    switch = _SWITCHES.get(one.category)
    return [*sizes, switch, "--ubatch-size", str(min(context, DEFAULT.batch_tokens))] if switch is not None else sizes


def _files(one: Model) -> _Files:
    return _ollama_files(one) if one.format is Format.OLLAMA else _gguf_files(one)


def _gguf_files(one: Model) -> _Files:
    found = _parts(one)
    if found.model is None:
        raise NothingToServe(what=one.served_name, engine="llamacpp", reason="it has no GGUF")
    return _Files(found.model, found.projectors, found.adapters)


def _parts(one: Model) -> Parts:
    if one.parts is not None:
        return one.parts
    # a version that was imported before this was decided at import
    weights = [file.path for file in one.files if file.path.suffix == ".gguf"]
    projectors = tuple(path for path in weights if "mmproj" in path.name.lower())
    models = [path for path in weights if path not in projectors]
    return Parts(models[0] if models else None, projectors)  # of shards, llama.cpp wants the first


def _applied(one: Model) -> ollama_layers.Applied:
    return ollama_layers.applied(json.loads(one.contents[MANIFEST]), lambda digest: one.contents[blob_path(digest)])


def _ollama_files(one: Model) -> _Files:
    found = _applied(one)
    weights = {file.digest for file in one.files if file.role is Role.WEIGHT}
    models = [digest for digest in found.blobs.get(ollama_layers.MODEL, ()) if digest in weights]
    if not models:
        raise NothingToServe(what=one.served_name, engine="llamacpp", reason="its manifest has no model layer")

    def paths(kind: str) -> tuple[FilePath, ...]:
        return tuple(map(blob_path, found.blobs.get(kind, ())))

    return _Files(blob_path(models[0]), paths(ollama_layers.PROJECTOR), paths(ollama_layers.ADAPTER), found.options)
