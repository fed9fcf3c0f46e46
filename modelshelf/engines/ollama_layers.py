"""What an Ollama manifest's layers mean to llama.cpp: files, options of the server, and what cannot be applied.

Source: `server/images.go` and `api/types.go` (Options, Runner) of Ollama 0.32; `llama-server --help` of b10434.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelshelf.digest import Digest
from modelshelf.names import FilePath

_KIND = "application/vnd.ollama.image."
MANIFEST = FilePath("manifest.json")
"""Where a version has the manifest."""
MODEL, PROJECTOR, ADAPTER, PARAMETERS = (f"{_KIND}{name}" for name in ("model", "projector", "adapter", "params"))
_NOT_APPLIED = {
    f"{_KIND}template": "its prompt template (llama.cpp uses the template in the GGUF, or else a default)",
    f"{_KIND}system": "its system message",
    f"{_KIND}messages": "its example messages",
    f"{_KIND}draft": "its draft model",
}
_OPTIONS = {
    "num_ctx": "--ctx-size",
    "num_predict": "--predict",
    "num_keep": "--keep",
    "num_batch": "--batch-size",
    "num_gpu": "--n-gpu-layers",
    "num_thread": "--threads",
    "seed": "--seed",
    "temperature": "--temp",
    "top_k": "--top-k",
    "top_p": "--top-p",
    "min_p": "--min-p",
    "typical_p": "--typical",
    "repeat_last_n": "--repeat-last-n",
    "repeat_penalty": "--repeat-penalty",
    "presence_penalty": "--presence-penalty",
    "frequency_penalty": "--frequency-penalty",
    "mirostat": "--mirostat",
    "mirostat_eta": "--mirostat-lr",
    "mirostat_tau": "--mirostat-ent",
}


@dataclass(frozen=True, slots=True)
class Applied:
    """The blobs by media type, the options of the server, and in sentences what is left out."""

    blobs: Mapping[str, tuple[Digest, ...]]
    options: tuple[str, ...]
    left_out: tuple[str, ...]


def applied(manifest: Mapping[str, Any], read: Callable[[Digest], bytes]) -> Applied:
    """Return what llama.cpp makes of the manifest. `read` returns a small blob."""
    blobs: dict[str, tuple[Digest, ...]] = {}
    for layer in manifest["layers"]:
        blobs[layer["mediaType"]] = (*blobs.get(layer["mediaType"], ()), Digest.parse(layer["digest"]))
    options: list[str] = []
    left_out = [what for kind, what in _NOT_APPLIED.items() if kind in blobs]
    if len(blobs.get(PROJECTOR, ())) > 1:
        left_out.append("its projectors after the first")
    for digest in blobs.get(PARAMETERS, ()):
        for name, value in json.loads(read(digest)).items():
            found = _option(name, value)
            options += found
            if not found:
                left_out.append(f"its parameter {name}")
    return Applied(blobs, tuple(options), tuple(f"llama.cpp does not apply {what}." for what in left_out))


def blob_path(digest: Digest) -> FilePath:
    """Return where a version has the blob, and where Ollama looks for it below its models folder."""
    return FilePath(f"blobs/sha256-{digest.hex}")


def parameter_blobs(manifest: Mapping[str, Any]) -> tuple[Digest, ...]:
    """Return the blobs that `applied` reads."""
    return tuple(Digest.parse(layer["digest"]) for layer in manifest["layers"] if layer["mediaType"] == PARAMETERS)


def _option(name: str, value: object) -> tuple[str, ...]:
    """Return the arguments that mean the parameter; none if there are no such arguments."""
    if name == "stop":
        texts = value if isinstance(value, list) else [value]
        usable = [text for text in texts if isinstance(text, str) and text and "\0" not in text]
        return tuple(word for text in usable for word in ("--reverse-prompt", text))
    if name in _OPTIONS and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return (_OPTIONS[name], str(value))
    return ()
