from __future__ import annotations

import json
import random
from dataclasses import replace

import jsonschema
import pytest
from modelpack_client import constants
from modelpack_client.schema import CONFIG_SCHEMA

from modelshelf.digest import Digest
from modelshelf.errors import CollidingFileNames
from modelshelf.formats.image import PackedFile
from modelshelf.formats.kinds import Facts, Format, Role
from modelshelf.names import FilePath
from modelshelf.packing.modelpack import pack, pack_in_first_form, read_image

FILES = [
    PackedFile(FilePath("model.safetensors"), Role.WEIGHT, Digest.of(b"w"), 1),
    PackedFile(FilePath("config.json"), Role.CONFIG, Digest.of(b"c"), 1),
    PackedFile(FilePath("README.md"), Role.DOC, Digest.of(b"d"), 1),
    PackedFile(FilePath("1_Pooling/config.json"), Role.CONFIG, Digest.of(b"p"), 1),
]
FACTS = Facts("llama", 8_030_261_248, "BF16", None, 8192, True)

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
    assert all(layer["annotations"]["org.opencontainers.image.title"] == path for path, layer in by_path.items())
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


def test_two_paths_that_are_one_on_some_systems_are_refused() -> None:
    with pytest.raises(CollidingFileNames):
        pack(Format.GGUF, [*FILES, PackedFile(FilePath("CONFIG.json"), Role.CONFIG, Digest.of(b"x"), 1)], Facts())


_IDS = [str(file.digest) for file in sorted(FILES)]
EXPECTED_CONFIG = (
    '{"config":{"architecture":"llama","format":"safetensors","paramSize":"8b","precision":"bfloat16"},"descriptor":{},'
    f'"modelfs":{{"diffIds":["{_IDS[0]}","{_IDS[1]}","{_IDS[2]}","{_IDS[3]}"],"type":"layers"}}}}'
)
EXPECTED_MANIFEST = (
    '{"artifactType":"application/vnd.cncf.model.manifest.v1+json",'
    '"config":{"digest":"sha256:ba885c85de4a5ee5aa7cf18c5fda9b43cf291f17ef993bf9b85fcc408132d567",'
    '"mediaType":"application/vnd.cncf.model.config.v1+json","size":450},"layers":['
    '{"annotations":{"org.cncf.model.filepath":"1_Pooling/config.json","org.opencontainers.image.title":"1_Pooling/config.json"},'
    f'"digest":"{_IDS[0]}","mediaType":"application/vnd.cncf.model.weight.config.v1.raw","size":1}},'
    '{"annotations":{"org.cncf.model.filepath":"README.md","org.opencontainers.image.title":"README.md"},'
    f'"digest":"{_IDS[1]}","mediaType":"application/vnd.cncf.model.doc.v1.raw","size":1}},'
    '{"annotations":{"org.cncf.model.filepath":"config.json","org.opencontainers.image.title":"config.json"},'
    f'"digest":"{_IDS[2]}","mediaType":"application/vnd.cncf.model.weight.config.v1.raw","size":1}},'
    '{"annotations":{"org.cncf.model.filepath":"model.safetensors","org.opencontainers.image.title":"model.safetensors"},'
    f'"digest":"{_IDS[3]}","mediaType":"application/vnd.cncf.model.weight.v1.raw","size":1}}],'
    '"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
)


def test_the_bytes_of_an_image_are_these_and_never_others() -> None:
    """If this fails, every new image would have another digest than the same content has now: decision 0017."""
    image = pack(Format.SAFETENSORS, FILES, FACTS)
    assert image.config.decode() == EXPECTED_CONFIG
    assert image.manifest.decode() == EXPECTED_MANIFEST
    assert str(image.digest) == "sha256:049bfc2f76877daf5c59c322c2f8e1fbee21326c43ca34c66684e5e36583d207"


@pytest.mark.parametrize(
    ("format", "told", "digest"),
    [
        (Format.SAFETENSORS, [FACTS], "sha256:0d6bf730b532a706f2c8f9545759998147592d3ad34f708d40086018941e8d57"),
        (
            Format.OLLAMA,
            [Facts("llama", 8_030_261_248, None, "Q4_K_M", 4096, True), Facts("clip", 1000)],
            "sha256:ec396865ff203f5fb301b1044d1ca084dc6a220bb619fd3237044b6ed7fbd31d",
        ),
    ],
)
def test_images_of_the_first_form_keep_their_digests(format: Format, told: list[Facts], digest: str) -> None:
    """The digests are those that the first code gave."""
    assert str(pack_in_first_form(format, FILES, told).digest) == digest


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        (None, None),
        (7, None),
        (1_000, "1k"),
        (268_098_176, "268.1m"),
        (1_498_482_688, "1.5b"),
        (8_030_261_248, "8b"),
        (10**12, "1t"),
    ],
)
def test_a_size_has_at_most_one_decimal_as_the_specification_asks(parameters: int | None, size: str | None) -> None:
    config = json.loads(pack(Format.GGUF, FILES, Facts("llama", parameters)).config)["config"]
    assert config.get("paramSize") == size


@pytest.mark.parametrize(
    ("format", "facts", "told"),
    [
        (Format.OLLAMA, Facts(quantization="Q4_K_M"), {"format": "gguf", "quantization": "Q4_K_M"}),
        (Format.GGUF, Facts(quantization="F16"), {"format": "gguf", "precision": "float16"}),
        (Format.SAFETENSORS, Facts(precision="F4"), {"format": "safetensors", "precision": "f4"}),
    ],
)
def test_format_and_precision_are_the_specifications_words(format: Format, facts: Facts, told: dict[str, str]) -> None:
    assert json.loads(pack(format, FILES, facts).config)["config"] == told


def test_a_stored_image_is_read_back_in_whatever_form_and_only_with_its_own_files() -> None:
    for image in (pack(Format.GGUF, FILES, FACTS), pack_in_first_form(Format.GGUF, FILES, [FACTS])):
        assert read_image(Format.GGUF, FILES, FACTS, image.config, image.manifest) == replace(image, facts=FACTS)
        assert read_image(Format.GGUF, FILES[1:], FACTS, image.config, image.manifest) is None
        assert read_image(Format.GGUF, FILES, FACTS, b"{}", image.manifest) is None
        assert read_image(Format.GGUF, FILES, FACTS, image.config, b"[]") is None
