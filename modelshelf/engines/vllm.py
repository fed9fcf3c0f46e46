"""vLLM: the `vllm` command where it is installed. Source: `vllm serve --help` of vLLM 0.11.0."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from modelshelf.engines.contract import Command, Listen, Mounted
from modelshelf.engines.openai_api import OpenAiApi
from modelshelf.errors import EngineMissing, NothingToServe
from modelshelf.formats.kinds import Format
from modelshelf.names import ServedName


class Vllm(OpenAiApi):
    """Serves one model in safetensors from its folder; what it compiles and caches goes to the instance's own."""

    name = "vllm"
    accepts = frozenset({Format.SAFETENSORS})
    categories = frozenset({"chat", "embedding", "reranker"})
    takes_key = False  # it takes one only as an argument or in the environment, where others can read it
    models_at_once = 1

    def require_installed(self) -> None:
        self._program()

    def lay_out(self, mounted: Sequence[Mounted], own: Path) -> None:
        """It reads the replica as it is."""

    def command(self, mounted: Sequence[Mounted], listen: Listen, arguments: Sequence[str], cpus: int = 0) -> Command:
        (one,) = mounted
        if not any(str(file.path) == "config.json" for file in one.files):
            raise NothingToServe(what=one.served_name, engine=self.name, reason="it has no config.json")
        command = [self._program(), "serve", str(one.folder), "--served-model-name", str(one.served_name)]
        command += ["--host", listen.bind, "--port", str(listen.port)]
        if one.category in ("embedding", "reranker"):
            command += ["--runner", "pooling"]
        cache = {"HOME": str(listen.own), "VLLM_CACHE_ROOT": str(listen.own / "cache")}
        offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        return Command((*command, *arguments), {**cache, **offline})

    def listed_name(self, served: ServedName) -> str:
        return str(served)

    def identity(self, mounted: Mounted) -> None:
        return None

    def _program(self) -> str:
        if (found := shutil.which("vllm")) is None:
            advice = "`pip install vllm` on a machine that it supports, or choose another engine (`--engine`)."
            raise EngineMissing(engine=self.name, reason="there is no `vllm` on PATH", advice=advice)
        return found
