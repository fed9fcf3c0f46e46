"""The small files of an Ollama version that decide how it is served, read from the store."""

from __future__ import annotations

import json

from modelshelf.digest import Digest
from modelshelf.engines.ollama_layers import MANIFEST, blob_path, parameter_blobs
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.names import FilePath


def contents_of(library: Library, manifest: Digest) -> dict[FilePath, bytes]:
    """Return the manifest and the parameters that it names, by their paths in the version.

    Raises BlobMissing, or ValueError, KeyError or TypeError for what is no manifest.
    """
    content = _read(library, manifest, DEFAULT.manifest_bytes)
    parameters = parameter_blobs(json.loads(content))
    return {MANIFEST: content, **{blob_path(one): _read(library, one, DEFAULT.ollama_parameters_bytes) for one in parameters}}


def _read(library: Library, digest: Digest, at_most: int) -> bytes:
    with library.store.open(digest) as file:
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise ValueError(f"more than {at_most} bytes")
    return content
