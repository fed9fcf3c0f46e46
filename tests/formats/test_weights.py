"""What the file names of weights say, with names as publishers spell them."""

from __future__ import annotations

import pytest

from modelshelf.formats.weights import (
    Shard,
    is_adapter,
    is_draft,
    is_importance_matrix,
    is_projector,
    missing_shards,
    quantization_of,
    shard_of,
    stem_of,
    suffix_of,
    unsharded,
)


@pytest.mark.parametrize(
    ("name", "quantization", "stem"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M", "Llama-3.2-1B-Instruct"),
        ("qwen2.5-0.5b-instruct-q8_0.gguf", "Q8_0", "qwen2.5-0.5b-instruct"),
        ("Qwen3-8B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL", "Qwen3-8B"),
        ("model.i1-IQ2_XXS.gguf", "IQ2_XXS", "model.i1"),
        ("Q4_K_M/big-Q4_K_M-00001-of-00003.gguf", "Q4_K_M", "big"),
        ("BF16/big-00001-of-00003.gguf", "BF16", "big"),
        ("Model.fp16.gguf", "F16", "Model"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4", "gpt-oss-20b"),
        ("X.f16.Q6_K.gguf", "Q6_K", "X.f16"),
        ("X-Q8_0-imat.gguf", "Q8_0", "X-imat"),
        ("X Q4_0 (new).gguf", "Q4_0", "X-new"),
        ("TQ1_0/m-TQ1_0.gguf", "TQ1_0", "m"),
        ("a/Mixed.gguf", None, "a/Mixed"),
        ("Big-Q8_0/Big-Q8_0-00001-of-00002.gguf", "Q8_0", "Big"),
        ("Q8_0.gguf", "Q8_0", ""),
    ],
)
def test_a_name_says_its_quantisation_and_its_model(name: str, quantization: str | None, stem: str) -> None:
    assert (quantization_of(name), stem_of(name)) == (quantization, stem)


def test_a_shard_says_its_place_and_a_set_what_it_lacks() -> None:
    assert shard_of("a/model-00002-of-000163.safetensors") == Shard(2, 163)
    assert shard_of("model.fp16-00001-of-00002.safetensors") == Shard(1, 2)
    assert shard_of("one-of-us.gguf") is None
    assert unsharded("a/m-00002-of-00003.gguf") == "a/m.gguf"
    assert missing_shards(["x/m-00002-of-00003.gguf"]) == ["x/m-00001-of-00003.gguf", "x/m-00003-of-00003.gguf"]
    assert missing_shards(["m-00000-of-00002.gguf", "m-00001-of-00002.gguf"]) == []
    assert suffix_of("a.b/Makefile") == ""
    assert suffix_of(".DS_Store") == ""


@pytest.mark.parametrize("name", ["mmproj-F16.gguf", "x.mmproj-q8_0.gguf", "mmproj/model-bf16.gguf", "mm-proj-f16.gguf"])
def test_projectors(name: str) -> None:
    assert is_projector(name)


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("imatrix.dat", True),
        ("model.imatrix", True),
        ("Llama-3.imatrix.gguf", True),
        ("imatrix_unsloth.gguf", True),
        ("x-Q4_K_M-imatrix.gguf", False),
        ("imatrixed.gguf", False),
    ],
)
def test_an_importance_matrix_is_no_model_and_a_model_made_with_one_is(name: str, matrix: bool) -> None:
    assert is_importance_matrix(name) is matrix


@pytest.mark.parametrize(
    ("name", "adapter", "draft"),
    [
        ("lora.gguf", True, False),
        ("my-LoRA-f16.gguf", True, False),
        ("adapter_model.gguf", True, False),
        ("explorations.gguf", False, False),
        ("x-lora-merged-Q4_K_M.gguf", False, False),
        ("x-draft-Q4_0.gguf", False, True),
        ("draftsman.gguf", False, False),
    ],
)
def test_adapters_and_drafts_are_told_by_a_word_of_their_own(name: str, adapter: bool, draft: bool) -> None:
    assert (is_adapter(name), is_draft(name)) == (adapter, draft)
