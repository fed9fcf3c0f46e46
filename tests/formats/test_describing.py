"""Which file is the model, what goes with it, and what is known of it: by the headers first, by names where these are silent."""

from __future__ import annotations

import io
import struct
from array import array
from pathlib import Path

import pytest

from modelshelf.errors import BadHeader, NoModelAmong, SeveralModels, ShardsMissing
from modelshelf.formats.allowed import inspect_file
from modelshelf.formats.describing import Description, describe
from modelshelf.formats.gguf import read_gguf
from modelshelf.formats.kinds import Facts, Format, Header, PartKind
from modelshelf.formats.parts import Parts
from modelshelf.formats.safetensors import read_safetensors
from modelshelf.names import FilePath
from tests.formats.test_headers import tensor, with_header
from tests.making import gguf
from tests.models import Value, write_gguf

LLAMA: dict[str, Value] = {"general.architecture": "llama", "llama.context_length": 4096, "general.file_type": 15}


def header(folder: Path, entries: dict[str, Value], weights: int = 0) -> Header:
    """The header of a GGUF with these entries and a tensor of so many parameters, none for 0."""
    tensors = {"weight": ((weights,), array("f", bytes(4 * weights)))} if weights else {}
    write_gguf(folder / "x.gguf", entries, tensors)
    content = (folder / "x.gguf").read_bytes()
    return read_gguf(io.BytesIO(content), len(content), name="x.gguf")


def described(headers: dict[str, Header], format: Format = Format.GGUF, layers: dict[str, PartKind] | None = None) -> Description:
    known = {FilePath(name): kind for name, kind in (layers or {}).items()}
    by_path = {FilePath(name): found for name, found in headers.items()}
    return describe(format, by_path, known, what="m:1", command="modelshelf import file:///m")


def model(parameters: int, **facts: object) -> Header:
    return Header(Facts("llama", parameters, **facts), PartKind.MODEL)  # type: ignore[arg-type]


def test_a_set_has_the_facts_of_the_shard_that_carries_them_though_it_has_no_tensor(tmp_path: Path) -> None:
    first = header(
        tmp_path, {**LLAMA, "general.license": "mit", "tokenizer.chat_template": "{{x}}", "split.no": 0, "split.count": 3}
    )
    rest = [header(tmp_path, {"split.no": number, "split.count": 3}, weights) for number, weights in ((1, 64), (2, 96))]
    found = described({"m-00003-of-00003.gguf": rest[1], "m-00001-of-00003.gguf": first, "m-00002-of-00003.gguf": rest[0]})
    assert found.parts == Parts(FilePath("m-00001-of-00003.gguf"))
    assert found.facts == Facts("llama", 160, None, "Q4_K_M", 4096, True, "mit")
    assert found.license == "mit"


def test_the_numbers_in_the_headers_say_which_shard_is_first_and_not_the_names(tmp_path: Path) -> None:
    shards = {
        f"m-0000{3 - number}-of-00003.gguf": header(tmp_path, {**LLAMA, "split.no": number, "split.count": 3})
        for number in range(3)
    }
    assert described(shards).parts.model == FilePath("m-00003-of-00003.gguf")


def test_a_set_that_lacks_a_shard_is_refused(tmp_path: Path) -> None:
    shard = header(tmp_path, {**LLAMA, "split.no": 0, "split.count": 3})
    with pytest.raises(ShardsMissing, match="a set of 3 files, and 1 of them"):
        described({"m-00001-of-00003.gguf": shard})


@pytest.mark.parametrize("numbers", [(0, 0, 0), (0, 1, 1), (0, 1, 7), (1, 2, 3)])
def test_a_set_that_has_a_shard_twice_in_place_of_another_is_refused(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    shards = {
        f"m-0000{place}-of-00003.gguf": header(tmp_path, {**LLAMA, "split.no": number, "split.count": 3}, 32)
        for place, number in enumerate(numbers, 1)
    }
    with pytest.raises(ShardsMissing, match="a set of 3 files"):
        described(shards)


def test_a_set_whose_second_file_counts_more_than_its_first_is_refused(tmp_path: Path) -> None:
    shards = {
        f"m-0000{number + 1}-of-00002.gguf": header(tmp_path, {**LLAMA, "split.no": number, "split.count": count}, 32)
        for number, count in ((0, 2), (1, 4_000_000_000))
    }
    with pytest.raises(ShardsMissing, match="a set of 4000000000 files"):
        described(shards)


def test_the_parameters_are_those_of_the_model_alone(tmp_path: Path) -> None:
    found = described(
        {
            "a-lora.gguf": header(tmp_path, {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"}, 640),
            "model.gguf": header(tmp_path, LLAMA, 64),
            "vision.gguf": header(tmp_path, {"general.architecture": "clip"}, 6400),
            "matrix.gguf": header(tmp_path, {"general.type": "imatrix"}, 32),
        }
    )  # fmt: skip
    assert found.facts.parameters == 64
    assert found.parts == Parts(FilePath("model.gguf"), (FilePath("vision.gguf"),), (FilePath("a-lora.gguf"),))


@pytest.mark.parametrize(
    ("entries", "kind"),
    [
        (LLAMA, PartKind.MODEL),
        ({"general.type": "model", "general.architecture": "clip"}, PartKind.PROJECTOR),
        ({"general.type": "mmproj", "general.architecture": "clip"}, PartKind.PROJECTOR),
        ({"general.type": "adapter", "general.architecture": "llama"}, PartKind.ADAPTER),
        ({"general.architecture": "llama", "adapter.type": "lora"}, PartKind.ADAPTER),
        ({"general.architecture": "eagle3"}, PartKind.DRAFT),
        ({"general.architecture": "controlvector"}, PartKind.OTHER),
        ({"general.type": "imatrix"}, PartKind.OTHER),
        ({}, None),
    ],
)
def test_a_header_says_what_its_file_is(tmp_path: Path, entries: dict[str, Value], kind: PartKind | None) -> None:
    assert header(tmp_path, entries).kind is kind


def test_names_decide_only_where_headers_are_silent() -> None:
    silent = Header(Facts(parameters=5))
    found = described({"mmproj.gguf": silent, "my-lora.gguf": silent, "m.gguf": model(9), "x-imatrix.gguf": silent})
    assert found.parts == Parts(FilePath("m.gguf"), (FilePath("mmproj.gguf"),), (FilePath("my-lora.gguf"),))
    assert described({"mmproj-lora.gguf": model(9)}).parts == Parts(FilePath("mmproj-lora.gguf"))


def test_of_two_models_the_one_that_is_named_so_is_the_draft() -> None:
    assert described({"m.gguf": model(9), "m-draft.gguf": model(2)}).parts.drafts == (FilePath("m-draft.gguf"),)
    assert described({"m-draft.gguf": model(2)}).parts == Parts(FilePath("m-draft.gguf"))
    assert described({"m-draft.gguf": model(2), "m.gguf": model(9)}).facts.parameters == 9


def test_two_models_are_refused_with_both_and_the_command_that_chooses() -> None:
    two = {"b/m-Q8_0.gguf": model(9, quantization="Q8_0"), "a/m [x].gguf": model(9)}
    with pytest.raises(SeveralModels) as refused:
        described(two)
    assert "a/m [x].gguf, b/m-Q8_0.gguf (Q8_0)" in str(refused.value)
    assert "modelshelf import file:///m --include 'a/m [[]x].gguf'" in str(refused.value)


def test_of_two_sets_the_command_chooses_one_whole() -> None:
    names = [f"{name}-0000{number}-of-00002.gguf" for name in ("a", "b") for number in (1, 2)]
    with pytest.raises(SeveralModels, match=r"a-00001-of-00002\.gguf and 1 more.*--include 'a-\*-of-00002\.gguf'"):
        described({name: model(5) for name in names})


@pytest.mark.parametrize(
    "headers",
    [
        {"adapter.gguf": Header(Facts("llama"), PartKind.ADAPTER)},
        {"mmproj.gguf": Header(Facts("clip"), PartKind.PROJECTOR)},
        {"a.gguf": Header(Facts("llama"), PartKind.ADAPTER), "mmproj.gguf": Header(Facts("clip"), PartKind.PROJECTOR)},
    ],
)
def test_what_has_no_model_is_refused_with_the_reason(headers: dict[str, Header]) -> None:
    with pytest.raises(NoModelAmong, match="belongs to a base model"):
        described(headers)


def test_an_adapter_in_safetensors_is_known_by_its_tensors_else_by_its_name() -> None:
    whole = Header(Facts(parameters=100, precision="BF16"))
    lora = with_header({"base_model.model.q_proj.lora_A.weight": tensor(0, 8, [8])})
    found = inspect_file(io.BytesIO(lora), len(lora), FilePath("x.safetensors"))
    assert found is not None
    assert found.kind is PartKind.ADAPTER
    parts = described(
        {"model.safetensors": whole, "x.safetensors": found, "ia3/adapter_model.safetensors": whole}, Format.SAFETENSORS
    )
    assert parts.parts == Parts(None, adapters=(FilePath("ia3/adapter_model.safetensors"), FilePath("x.safetensors")))
    assert parts.facts == Facts(parameters=100, precision="BF16")
    with pytest.raises(NoModelAmong):
        described({"adapter_model.safetensors": whole}, Format.SAFETENSORS)


def test_a_model_that_keeps_its_low_rank_pairs_unmerged_is_a_model() -> None:
    content = with_header({"q.lora_A.weight": tensor(0, 4, [4]), "q.base_layer.weight": tensor(4, 8, [4])})
    assert read_safetensors(io.BytesIO(content), len(content), name="x").kind is None


def test_an_ollama_version_is_what_its_manifest_says() -> None:
    layers = {"blobs/a": PartKind.MODEL, "blobs/b": PartKind.ADAPTER, "blobs/c": PartKind.DRAFT, "blobs/d": PartKind.PROJECTOR}
    found = described({name: model(10 * number) for number, name in enumerate(layers, 1)}, Format.OLLAMA, layers)
    assert found.parts == Parts(FilePath("blobs/a"), (FilePath("blobs/d"),), (FilePath("blobs/b"),), (FilePath("blobs/c"),))
    assert found.facts.parameters == 10


def test_every_licence_that_a_header_names_is_told() -> None:
    lora = Header(Facts("llama", 1, license="cc-by-nc-4.0"), PartKind.ADAPTER)
    assert described({"m.gguf": model(9, license="mit"), "lora.gguf": lora}).license == "cc-by-nc-4.0, mit"


@pytest.mark.parametrize("key", ["general.name", "general.author", "tokenizer.chat_template", "general.license"])
def test_a_value_in_any_encoding_is_taken(key: str, tmp_path: Path) -> None:
    found = header(tmp_path, {**LLAMA, key: b"caf\xe9", "tokenizer.ggml.tokens": ["\u2581a"]})
    assert (found.facts.architecture, found.facts.context_length) == ("llama", 4096)


def test_a_key_or_a_tensors_name_in_another_encoding_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", LLAMA, {"weight": ((32,), array("f", bytes(128)))})
    content = (tmp_path / "x.gguf").read_bytes()
    for name in (b"weight", b"general.file_type"):
        broken = content.replace(struct.pack("<Q", len(name)) + name, struct.pack("<Q", len(name)) + b"\xff" + name[1:])
        assert broken != content
        with pytest.raises(BadHeader, match="not UTF-8"):
            read_gguf(io.BytesIO(broken), len(broken), name="x.gguf")


def test_what_no_terminal_should_be_given_is_unknown() -> None:
    content = gguf(320, **{"general.architecture": "\x1b[31mred", "general.license": "a\nb"})
    facts = read_gguf(io.BytesIO(content), len(content), name="x.gguf").facts
    assert (facts.architecture, facts.license) == (None, None)


def test_null_metadata_in_safetensors_is_none_and_other_kinds_are_refused() -> None:
    good = with_header({"__metadata__": None, "a": tensor(0, 8, [8])})
    assert read_safetensors(io.BytesIO(good), len(good), name="x").facts.parameters == 8
    for metadata in ([], "", 0, False, {"format": None}):
        bad = with_header({"__metadata__": metadata, "a": tensor(0, 8, [8])})
        with pytest.raises(BadHeader, match="__metadata__"):
            read_safetensors(io.BytesIO(bad), len(bad), name="x")
