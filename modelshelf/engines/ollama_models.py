"""What a version is in Ollama's models folder: its manifest, and the blobs that the manifest names.

A version of an Ollama registry brings its manifest. For a GGUF one is made, the same bytes every time: the GGUF is the model
layer, and the configuration names its family. Ollama takes what the manifest lacks from the GGUF (from 0.30 on also the chat
template). Source: `server/images.go` and `manifest/` of Ollama 0.6.5 and 0.32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelshelf.digest import Digest
from modelshelf.engines.contract import Model
from modelshelf.engines.ollama_layers import MANIFEST, blob_path
from modelshelf.errors import NothingToServe
from modelshelf.formats.kinds import Format
from modelshelf.formats.weights import shard_of
from modelshelf.names import FilePath

_TEMPLATE = "Ollama before 0.30 does not apply the chat template of the GGUF."


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """A manifest's bytes, the files that are its blobs and small blobs that are written, both by their path (`blobs/…`)."""

    manifest: bytes
    links: Mapping[FilePath, FilePath]
    written: Mapping[FilePath, bytes] = field(default_factory=dict)


def model_of(model: Model) -> OllamaModel:
    """Raises NothingToServe if Ollama cannot serve the version."""
    return _of_manifest(model) if model.format is Format.OLLAMA else _of_gguf(model)


def left_out_of(model: Model) -> tuple[str, ...]:
    """Return in sentences what of the version Ollama does not apply: of one with a manifest of its own nothing."""
    if model.format is Format.OLLAMA:
        return ()
    drafts = ("Ollama does not use its draft model.",) if model.parts is not None and model.parts.drafts else ()
    return (*drafts, _TEMPLATE) if model.category == "chat" else drafts


def manifest_digest(model: Model) -> str:
    """Return what Ollama lists as the model's digest: the sha256 of the manifest's bytes."""
    if model.format is Format.OLLAMA:
        return next(file.digest.hex for file in model.files if file.digest and file.path == MANIFEST)
    return Digest.of(_of_gguf(model).manifest).hex


def _of_manifest(model: Model) -> OllamaModel:
    links = {file.path: file.path for file in model.files if str(file.path).startswith("blobs/")}
    if not links:
        raise _refused(model, "it has no blobs")
    return OllamaModel(model.contents[MANIFEST], links)


def _of_gguf(model: Model) -> OllamaModel:
    files = {file.path: file for file in model.files}
    parts = model.parts
    weights = parts.model if parts is not None else next((path for path in files if path.suffix == ".gguf"), None)
    if weights is None:
        raise _refused(model, "it has no GGUF")
    if shard_of(str(weights)) is not None:
        raise _refused(model, "its model is in several files, and Ollama accepts one")
    layers: list[dict[str, object]] = []
    links: dict[FilePath, FilePath] = {}

    def add(kind: str, path: FilePath) -> Digest:
        digest = files[path].digest
        if digest is None:
            raise _refused(model, f"the digest of {path} is not recorded; register the folder with `--hash`")
        layers.append({"mediaType": f"application/vnd.ollama.image.{kind}", "digest": str(digest), "size": files[path].size})
        links[blob_path(digest)] = path
        return digest

    digests = [add("model", weights)]
    if parts is not None:
        digests += [add("projector", path) for path in parts.projectors] + [add("adapter", path) for path in parts.adapters]
    family = model.architecture or "unknown"
    configuration = _compact(
        {
            "model_format": "gguf",
            "model_family": family,
            "model_families": [family],
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [str(digest) for digest in digests]},
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
    return OllamaModel(_compact(manifest), links, {blob_path(digest): configuration})


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _refused(model: Model, reason: str) -> NothingToServe:
    return NothingToServe(what=model.served_name, engine="ollama", reason=reason)
