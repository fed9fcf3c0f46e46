from __future__ import annotations

import json
import random

import jsonschema
import pytest
from modelpack_client import constants
from modelpack_client.schema import CONFIG_SCHEMA

from modelshelf.digest import Digest
from modelshelf.errors import CollidingFileNames
from modelshelf.formats.image import PackedFile
from modelshelf.formats.kinds import Facts, Format, Role
from modelshelf.names import FilePath
from modelshelf.packing.modelpack import pack

FILES = [
    PackedFile(FilePath("model.safetensors"), Role.WEIGHT, Digest.of(b"w"), 1),
    PackedFile(FilePath("config.json"), Role.CONFIG, Digest.of(b"c"), 1),
    PackedFile(FilePath("README.md"), Role.DOC, Digest.of(b"d"), 1),
    PackedFile(FilePath("1_Pooling/config.json"), Role.CONFIG, Digest.of(b"p"), 1),
]
FACTS = [Facts("llama", 8_000_000_000, "BF16", None, 8192, True)]

_DESCRIPTOR = {
    "type": "object",
    "required": ["mediaType", "digest", "size"],
    "properties": {
        "mediaType": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$",
        },
        "digest": {"type": "string", "pattern": "^sha256:[a-f0-9]{64}$"},
        "size": {"type": "integer", "minimum": 0},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}
MANIFEST_SCHEMA = {
    "type": "object",
    "required": ["schemaVersion", "mediaType", "artifactType", "config", "layers"],
    "properties": {
        "schemaVersion": {"const": 2},
        "mediaType": {"const": constants.OCI_MANIFEST_MEDIA_TYPE},
        "artifactType": {"const": constants.MODEL_MANIFEST_ARTIFACT_TYPE},
        "config": _DESCRIPTOR,
        "layers": {"type": "array", "minItems": 1, "items": _DESCRIPTOR},
    },
    "additionalProperties": False,
}
"""The OCI image manifest's rules (image specification, "Image Manifest Property Descriptions")."""


def test_config_and_manifest_are_valid_by_the_specification() -> None:
    image = pack(Format.SAFETENSORS, FILES, FACTS)
    jsonschema.validate(json.loads(image.config), CONFIG_SCHEMA)
    manifest = json.loads(image.manifest)
    jsonschema.validate(manifest, MANIFEST_SCHEMA)
    assert manifest["config"]["mediaType"] == constants.MODEL_CONFIG_MEDIA_TYPE
    assert manifest["config"]["digest"] == str(Digest.of(image.config))
    by_path = {layer["annotations"][constants.FILEPATH_ANNOTATION]: layer for layer in manifest["layers"]}
    assert by_path["model.safetensors"]["mediaType"] == constants.WEIGHT_RAW_MEDIA_TYPE
    assert by_path["config.json"]["mediaType"] == constants.WEIGHT_CONFIG_RAW_MEDIA_TYPE
    assert by_path["README.md"]["mediaType"] == constants.DOC_RAW_MEDIA_TYPE
    assert json.loads(image.config)["modelfs"]["diffIds"] == [layer["digest"] for layer in manifest["layers"]]


def test_packing_is_the_same_whatever_the_order() -> None:
    once = pack(Format.SAFETENSORS, FILES, FACTS)
    for seed in range(10):
        shuffled = random.Random(seed).sample(FILES, len(FILES))
        assert pack(Format.SAFETENSORS, shuffled, FACTS).manifest == once.manifest


def test_the_image_holds_no_name_time_owner_or_host() -> None:
    image = pack(Format.SAFETENSORS, FILES, FACTS)
    assert json.loads(image.config)["descriptor"] == {}
    assert b"created" not in image.config + image.manifest


def test_shards_add_up() -> None:
    shards = [Facts("llama", 3, "BF16"), Facts("llama", 4, "BF16")]
    assert pack(Format.SAFETENSORS, FILES, shards).facts.parameters == 7


def test_two_paths_that_are_one_on_some_systems_are_refused() -> None:
    with pytest.raises(CollidingFileNames):
        pack(Format.GGUF, [*FILES, PackedFile(FilePath("CONFIG.json"), Role.CONFIG, Digest.of(b"x"), 1)], [])
