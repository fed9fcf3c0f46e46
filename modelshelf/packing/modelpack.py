"""The model data image: an OCI manifest by the CNCF ModelPack specification, one uncompressed layer a file.

The config holds only facts that the files themselves tell: no name, tag, source or time. So one content has one
digest wherever it came from, and packing it again gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from modelshelf.digest import Digest
from modelshelf.formats.image import Image, PackedFile
from modelshelf.formats.kinds import Facts, Format
from modelshelf.names import refuse_colliding

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
FILEPATH, TITLE = "org.cncf.model.filepath", "org.opencontainers.image.title"
"""Where a layer's file lies. ModelPack tools read the first; `oras pull` and CRI-O leave out a layer without the second."""

_PRECISIONS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3", "F8_E5M2": "float8_e5m2",
    "C64": "complex64", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8", "U16": "uint16",
    "U32": "uint32", "U64": "uint64", "BOOL": "bool",
}  # fmt: skip
"""The specification's words for element types (docs/config.md, "precision"); of others, the file's own word."""


def pack(format: Format, files: Iterable[PackedFile], facts: Facts) -> Image:
    """Pack `files` in the order of their paths; `facts` are what the headers of the model say."""
    return _image(format, files, facts, _config(format, facts), (FILEPATH, TITLE))


def pack_in_first_form(format: Format, files: Iterable[PackedFile], told: Sequence[Facts]) -> Image:
    """Pack as version 0.1.0 did until its second form (decision 0017): such images are in catalogs and keep their digests.

    `told` are the facts of every file of weights.
    """
    facts = _merge_in_first_form(told)
    return _image(format, files, facts, _config_in_first_form(format, facts), (FILEPATH,))


def read_image(format: Format, files: Iterable[PackedFile], facts: Facts, config: bytes, manifest: bytes) -> Image | None:
    """Return the image that a stored manifest and config are of, in whatever form; None if they do not belong to `files`."""
    ordered = tuple(sorted(files))
    try:
        content = json.loads(manifest)
        same_config = content["config"]["digest"] == str(Digest.of(config))
        layers = [(layer["annotations"][FILEPATH], layer["digest"], layer["size"]) for layer in content["layers"]]
    except (ValueError, KeyError, TypeError):
        return None
    same = same_config and layers == [(str(file.path), str(file.digest), file.size) for file in ordered]
    return Image(format, ordered, facts, config, manifest) if same else None


def _image(format: Format, files: Iterable[PackedFile], facts: Facts, told: Mapping[str, object], named: Sequence[str]) -> Image:
    ordered = tuple(sorted(files))
    refuse_colliding(file.path for file in ordered)
    diff_ids = [str(file.digest) for file in ordered]
    known = {key: value for key, value in told.items() if value is not None}
    config = _canonical({"descriptor": {}, "config": known, "modelfs": {"type": "layers", "diffIds": diff_ids}})
    manifest = _canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": str(Digest.of(config)), "size": len(config)},
            "layers": [
                {
                    "mediaType": file.media_type,
                    "digest": str(file.digest),
                    "size": file.size,
                    "annotations": dict.fromkeys(named, str(file.path)),
                }
                for file in ordered
            ],
        }
    )
    return Image(format, ordered, facts, config, manifest)


def _config(format: Format, facts: Facts) -> dict[str, object]:
    """What the specification calls a model's technical facts. The weights of an Ollama version are GGUF."""
    unquantized = facts.quantization if facts.quantization in _PRECISIONS else None
    precision = facts.precision or unquantized
    return {
        "format": str(Format.GGUF if format is Format.OLLAMA else format),
        "architecture": facts.architecture,
        "paramSize": _parameter_size(facts.parameters),
        "precision": _PRECISIONS.get(precision, precision.lower()) if precision is not None else None,
        "quantization": facts.quantization if unquantized is None else None,
    }


def _parameter_size(parameters: int | None) -> str | None:
    """Return the count with at most one decimal and a letter, as the specification writes it: `8b`, `1.5b`, `270m`."""
    for unit, size in (("t", 10**12), ("b", 10**9), ("m", 10**6), ("k", 10**3)):
        if parameters is not None and parameters >= size:
            return f"{parameters / size:.1f}".removesuffix(".0") + unit
    return None


def _config_in_first_form(format: Format, facts: Facts) -> dict[str, object]:
    return {
        "format": str(format),
        "architecture": facts.architecture,
        "paramSize": _parameter_size_in_first_form(facts.parameters),
        "precision": facts.precision,
        "quantization": facts.quantization,
    }


def _merge_in_first_form(told: Sequence[Facts]) -> Facts:
    if not told:
        return Facts()
    largest = max(told, key=lambda facts: (facts.parameters or 0, _as_sorted_in_first_form(facts)))
    counted = [facts.parameters for facts in told if facts.parameters is not None]
    return replace(largest, parameters=sum(counted) if counted else None)


def _as_sorted_in_first_form(facts: Facts) -> str:
    """What `str` gave of facts when they had no category."""
    return str(facts).partition(", category=")[0] + ")"


def _parameter_size_in_first_form(parameters: int | None) -> str | None:
    if parameters is None:
        return None
    for unit, size in (("t", 10**12), ("b", 10**9), ("m", 10**6), ("k", 10**3)):
        if parameters >= size:
            return f"{parameters / size:.3g}{unit}"
    return str(parameters)


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
