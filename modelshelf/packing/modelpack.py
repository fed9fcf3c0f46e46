"""The model data image: an OCI manifest by the CNCF ModelPack specification, one uncompressed layer a file.

The config holds only facts that the files themselves tell: no name, tag, source or time. So one content has one
digest wherever it came from, and packing it again gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from modelshelf.digest import Digest
from modelshelf.formats.image import Image, PackedFile
from modelshelf.formats.kinds import Facts, Format
from modelshelf.names import refuse_colliding

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
FILEPATH = "org.cncf.model.filepath"


def pack(format: Format, files: Iterable[PackedFile], facts: Sequence[Facts]) -> Image:
    """The image of `files`, in the order of their paths; `facts` are those of its weights."""
    ordered = tuple(sorted(files))
    refuse_colliding(file.path for file in ordered)
    merged = merge_facts(facts)
    config = _canonical(_config(format, ordered, merged))
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
                    "annotations": {FILEPATH: str(file.path)},
                }
                for file in ordered
            ],
        }
    )
    return Image(format, ordered, merged, config, manifest)


def _config(format: Format, files: Sequence[PackedFile], facts: Facts) -> dict[str, object]:
    told = {
        "format": str(format),
        "architecture": facts.architecture,
        "paramSize": _parameter_size(facts.parameters),
        "precision": facts.precision,
        "quantization": facts.quantization,
    }
    return {
        "descriptor": {},
        "config": {key: value for key, value in told.items() if value is not None},
        "modelfs": {"type": "layers", "diffIds": [str(file.digest) for file in files]},
    }


def merge_facts(facts: Sequence[Facts]) -> Facts:
    """Shards tell their own part: parameters add up, of everything else the largest part's word counts."""
    if not facts:
        return Facts()
    largest = max(facts, key=lambda fact: (fact.parameters or 0, str(fact)))
    known = [fact.parameters for fact in facts if fact.parameters is not None]
    return Facts(
        architecture=largest.architecture,
        parameters=sum(known) if known else None,
        precision=largest.precision,
        quantization=largest.quantization,
        context_length=largest.context_length,
        chat_template=any(fact.chat_template for fact in facts),
        license=largest.license,
    )


def _parameter_size(parameters: int | None) -> str | None:
    """As the specification writes it: `8b`, `270m`."""
    if parameters is None:
        return None
    for unit, size in (("t", 10**12), ("b", 10**9), ("m", 10**6), ("k", 10**3)):
        if parameters >= size:
            return f"{parameters / size:.3g}{unit}"
    return str(parameters)


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
