"""vLLM: the `vllm` command where it is installed.

Source: the source of vLLM 0.11.0, against which a test holds every argument; `vllm serve --help=all` of 0.32.0 has them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelshelf.engines.arguments import require_undecided
from modelshelf.engines.contract import Command, Layout, Model, Program, Surroundings
from modelshelf.engines.openai_api import OpenAiApi
from modelshelf.errors import BadSetting, NothingToServe
from modelshelf.formats.kinds import Format
from modelshelf.names import FilePath, ServedName

_CACHES = {
    "VLLM_CACHE_ROOT": "vllm",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "TRITON_CACHE_DIR": "triton",
    "NUMBA_CACHE_DIR": "numba",
}
"""By default some of these are in the system's temporary folder, where they stay."""
_TEMPORARY = FilePath("tmp")
_SOCKET_FOLDER = 60
"""The longest path below which its sockets have names of at most 107 bytes (unix(7))."""
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "SPT_NOENV": "1",  # its processes write their titles: over their arguments alone, so that the instance's label stays
}


_ADDRESS, _NAME = "give `--bind`", "give `--name`"
_PLAIN = "it is asked by HTTP at its port; put a proxy in front for anything else"
_DECIDED = {
    "--host": _ADDRESS, "--port": "give `--port` before the `--`", "--served-model-name": _NAME,
    "--api-key": "its key guards a part of its paths only: put a proxy that asks for a key in front",
    "--model": "name the model to `modelshelf launch`", "--uds": _PLAIN, "--ssl-keyfile": _PLAIN, "--ssl-certfile": _PLAIN,
}  # fmt: skip


class Vllm(OpenAiApi):
    """Serves one model in safetensors from its folder; what it compiles and caches goes to the instance's own."""

    name = "vllm"
    accepts = frozenset({Format.SAFETENSORS})
    categories = frozenset({"chat", "embedding", "reranker"})
    takes_key = False  # its key guards `/v1` alone: `/invocations` answers without it
    takes_arguments = True
    has_templates = False
    kept_models = None
    models_at_once = 1
    smaller = "-- --max-model-len 4096"
    program = Program(
        executable="vllm",
        advice="`pip install vllm` on a machine that vLLM supports, or choose another engine (`--engine`).",
    )

    def left_out(self, model: Model) -> tuple[str, ...]:
        return ()

    def layout(self, models: Sequence[Model]) -> Layout:
        """Return the folder for temporary files: the files of the model are read as they are."""
        return Layout(folders=(_TEMPORARY,))

    def command(self, models: Sequence[Model], at: Surroundings, arguments: Sequence[str], cpus: int = 0) -> Command:
        (model,), (folder,) = models, at.folders
        if not any(str(file.path) == "config.json" for file in model.files):
            raise NothingToServe(what=model.served_name, engine=self.name, reason="it has no config.json")
        command = ["serve", str(folder), "--served-model-name", str(model.served_name)]
        command += ["--host", at.bind, "--port", str(at.port)]
        if model.category in ("embedding", "reranker"):
            command += ["--runner", "pooling"]
        cache = at.own / "cache"
        caches = {name: str(cache / part) for name, part in _CACHES.items()}
        environment = {"HOME": str(at.own), "XDG_CACHE_HOME": str(cache), **caches, **_QUIET}
        if len(temporary := str(at.own / str(_TEMPORARY))) <= _SOCKET_FOLDER:
            environment["TMPDIR"] = temporary
        return Command((*command, *arguments), environment)

    def require_arguments(self, arguments: Sequence[str]) -> None:
        require_undecided(arguments, _DECIDED)

    def listed_name(self, served: ServedName) -> str:
        return str(served)

    def identity(self, model: Model) -> None:
        return None

    def require_environment(self, environment: Mapping[str, str]) -> None:
        if "VLLM_API_KEY" in environment:
            reason = (
                "VLLM_API_KEY protects only some of vLLM's paths (`/invocations` answers without it), and other users can read it"
            )
            advice = "put a proxy that requires a key in front of vLLM, and launch without VLLM_API_KEY"
            raise BadSetting(where="the environment", reason=f"{reason}; {advice}")
