"""What a version is in Ollama's models folder: its manifest, and the blobs that the manifest names.

A version of an Ollama registry brings its manifest. For a GGUF one is made, the same bytes every time: the GGUF is the model
layer, and the configuration names its family. Ollama takes what the manifest lacks from the GGUF (from 0.30 on also the chat
template). Source: `server/images.go` and `manifest/` of Ollama 0.6.5 and 0.32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelshelf.digest import Digest
from modelshelf.engines.contract import Mounted
from modelshelf.errors import NothingToServe
from modelshelf.formats.kinds import Format
from modelshelf.formats.weights import shard_of
from modelshelf.names import FilePath

_TEMPLATE = "Ollama before 0.30 does not apply the chat template of the GGUF."


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """A manifest's bytes, the files that are its blobs and small blobs that are written, both by their name in `blobs/`."""

    manifest: bytes
    links: Mapping[str, Path]
    written: Mapping[str, bytes] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def blobs(self) -> frozenset[str]:
        return frozenset((*self.links, *self.written))


def model_of(mounted: Mounted) -> OllamaModel:
    """Raises NothingToServe if Ollama cannot serve the version."""
    return _of_manifest(mounted) if mounted.format is Format.OLLAMA else _of_gguf(mounted)


def manifest_digest(mounted: Mounted) -> str:
    """Return what Ollama lists as the model's digest: the sha256 of the manifest's bytes."""
    if mounted.format is Format.OLLAMA:
        return next(file.digest.hex for file in mounted.files if file.digest and str(file.path) == "manifest.json")
    return Digest.of(_of_gguf(mounted).manifest).hex


def _of_manifest(mounted: Mounted) -> OllamaModel:
    paths = [str(file.path) for file in mounted.files]
    links = {path.removeprefix("blobs/"): mounted.folder / path for path in paths if path.startswith("blobs/")}
    return OllamaModel((mounted.folder / "manifest.json").read_bytes(), links)


def _of_gguf(mounted: Mounted) -> OllamaModel:
    files = {file.path: file for file in mounted.files}
    parts = mounted.parts
    model = parts.model if parts is not None else next((path for path in files if path.suffix == ".gguf"), None)
    if model is None:
        raise _refused(mounted, "it has no GGUF")
    if shard_of(str(model)) is not None:
        raise _refused(mounted, "its model is in several files, and Ollama accepts one")
    layers, links = [], {}

    def add(kind: str, path: FilePath) -> Digest:
        digest = files[path].digest
        if digest is None:
            raise _refused(mounted, f"the digest of {path} is not recorded; register the folder with `--hash`")
        layers.append({"mediaType": f"application/vnd.ollama.image.{kind}", "digest": str(digest), "size": files[path].size})
        links[f"sha256-{digest.hex}"] = mounted.folder / str(path)
        return digest

    weights = [add("model", model)]
    if parts is not None:
        weights += [add("projector", path) for path in parts.projectors] + [add("adapter", path) for path in parts.adapters]
    family = mounted.architecture or "unknown"
    configuration = _compact(
        {
            "model_format": "gguf",
            "model_family": family,
            "model_families": [family],
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [str(digest) for digest in weights]},
        }
    )
    digest = Digest.of(configuration)
    kind = "application/vnd.docker.container.image.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": kind, "digest": str(digest), "size": len(configuration)},
        "layers": layers,
    }
    left_out = ["Ollama does not use its draft model."] if parts is not None and parts.drafts else []
    left_out += [_TEMPLATE] if mounted.category == "chat" else []
    return OllamaModel(_compact(manifest), links, {f"sha256-{digest.hex}": configuration}, tuple(left_out))


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _refused(mounted: Mounted, reason: str) -> NothingToServe:
    return NothingToServe(what=mounted.served_name, engine="ollama", reason=reason)
