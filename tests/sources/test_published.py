"""File listings as the publishers of well-known models have them on the Hub, and what is taken of each."""

from __future__ import annotations

import pytest

from modelshelf.formats.kinds import Role
from tests.sources.test_choosing import HUB, chosen, index, shards, weights

DOCS = [
    "README.md",
    "LICENSE",
    ".gitattributes",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
]

PUBLISHED: dict[str, tuple[dict[str, bytes], str, list[str], list[str]]] = {
    "whisper": (
        dict.fromkeys(
            [*DOCS, "model.safetensors", *shards("model.fp32", 2), *shards("pytorch_model.fp32", 2, "bin"), "pytorch_model.bin",
             "pytorch_model.bin.index.fp32.json", "flax_model.msgpack", "normalizer.json", "vocab.json", "merges.txt"], b"{}"
        ) | {"model.safetensors.index.fp32.json": index(*shards("model.fp32", 2))},
        HUB, ["model.safetensors"], ["normalizer.json", "merges.txt"],
    ),
    "gpt-oss": (
        dict.fromkeys(
            [*DOCS, "model-00000-of-00002.safetensors", *shards("model", 2), "metal/model.bin", "original/model.safetensors",
             "original/dtypes.json", "chat_template.jinja", "USAGE_POLICY"], b"{}"
        ) | {"model.safetensors.index.json": index("model-00000-of-00002.safetensors", *shards("model", 2))},
        HUB, ["model-00000-of-00002.safetensors", *shards("model", 2)], ["chat_template.jinja"],
    ),
    "mistral": (
        dict.fromkeys(
            [*DOCS, "consolidated.safetensors", *shards("model", 3), "params.json", "tokenizer.model", "tokenizer.model.v3"], b"{}"
        ) | {"model.safetensors.index.json": index(*shards("model", 3))},
        HUB, shards("model", 3), ["tokenizer.model", "tokenizer.model.v3", "params.json"],
    ),
    "deepseek": (
        dict.fromkeys([*DOCS, *(f"model-{n:05d}-of-000163.safetensors" for n in range(1, 164)), "figures/benchmark.png",
                       "inference/model.py", "inference/requirements.txt", "configuration_deepseek.py"], b"{}")
        | {"model.safetensors.index.json": index(*(f"model-{n:05d}-of-000163.safetensors" for n in range(1, 164)))},
        HUB, [f"model-{n:05d}-of-000163.safetensors" for n in range(1, 164)], ["figures/benchmark.png"],
    ),
    "sdxl": (
        dict.fromkeys(
            ["README.md", "LICENSE.md", "model_index.json", "sd_xl_base_1.0.safetensors", "sd_xl_base_1.0_0.9vae.safetensors",
             "01.png", "comparison.png", "text_encoder/config.json", "text_encoder/model.safetensors", "text_encoder/model.fp16.safetensors",
             "text_encoder/flax_model.msgpack", "text_encoder/model.onnx", "text_encoder/openvino_model.bin",
             "text_encoder/openvino_model.xml", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "unet/model.onnx_data",
             "unet/diffusion_pytorch_model.fp16.safetensors", "tokenizer/merges.txt"], b"{}"
        ),
        HUB, ["text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors"], ["LICENSE.md", "model_index.json"],
    ),
    "vision GGUF": (
        dict.fromkeys(
            ["README.md", ".gitattributes", "config.json", "VL-7B-Q4_K_M.gguf", "VL-7B-UD-Q4_K_XL.gguf", "VL-7B-IQ4_NL.gguf",
             *shards("BF16/VL-7B-BF16", 2, "gguf"), *shards("VL-7B-Q8_0/VL-7B-Q8_0", 2, "gguf"), "mmproj-VL-7B-F16.gguf",
             "mmproj-VL-7B-F32.gguf", "mmproj-BF16.gguf", "imatrix_unsloth.gguf_file", "imatrix_unsloth.dat"], b"{}"
        ),
        f"{HUB}:Q8_0", [*shards("VL-7B-Q8_0/VL-7B-Q8_0", 2, "gguf"), "mmproj-VL-7B-F16.gguf"], ["config.json"],
    ),
    "one GGUF of many names": (
        dict.fromkeys(["llama-2-7b.Q2_K.gguf", "llama-2-7b.Q4_K_M.gguf", "LICENSE.txt", "Notice", "USE_POLICY.md", "Modelfile"], b"{}"),
        f"{HUB}:q4_k_m", ["llama-2-7b.Q4_K_M.gguf"], ["LICENSE.txt", "Notice", "USE_POLICY.md"],
    ),
    "bert": (
        dict.fromkeys(
            [*DOCS, "vocab.txt", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "rust_model.ot", "flax_model.msgpack",
             "coreml/fill-mask/float32_model.mlpackage/Manifest.json", "model.onnx"], b"{}"
        ),
        HUB, ["model.safetensors"], ["vocab.txt"],
    ),
    "a fine-tune with its training": (
        dict.fromkeys(
            [*DOCS, "adapter_config.json", "adapter_model.safetensors", "training_args.bin", "trainer_state.json", "latest",
             "checkpoint-100/adapter_model.safetensors", "checkpoint-100/optimizer.pt", "checkpoint-200/global_step200/x.pt",
             "runs/Jan/events.out.tfevents.1", "zero_to_fp32.py", "wandb/run/files/output.log"], b"{}"
        ),
        HUB, ["adapter_model.safetensors"], ["adapter_config.json"],
    ),
    "a vision-language model": (
        dict.fromkeys(
            [*DOCS, *shards("model", 2), "preprocessor_config.json", "chat_template.json", "assets/cat.jpg", "assets/v.mp4",
             "onnx/decoder_model_merged_q4f16.onnx", "onnx/embed_tokens.onnx_data"], b"{}"
        ) | {"model.safetensors.index.json": index(*shards("model", 2))},
        HUB, shards("model", 2), ["preprocessor_config.json", "assets/cat.jpg"],
    ),
    "flux": (
        dict.fromkeys(
            ["model_index.json", "flux1-dev.safetensors", "ae.safetensors", "dev_grid.jpg", "transformer/config.json",
             *shards("transformer/diffusion_pytorch_model", 3), *shards("text_encoder_2/model", 2), "text_encoder_2/config.json",
             "vae/config.json", "vae/diffusion_pytorch_model.safetensors"], b"{}"
        ) | {
            "transformer/diffusion_pytorch_model.safetensors.index.json": index(*shards("diffusion_pytorch_model", 3)),
            "text_encoder_2/model.safetensors.index.json": index(*shards("model", 2)),
        },
        HUB,
        [*shards("transformer/diffusion_pytorch_model", 3), *shards("text_encoder_2/model", 2), "vae/diffusion_pytorch_model.safetensors"],
        ["text_encoder_2/model.safetensors.index.json"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_well_known_repository_is_taken_as_its_engines_need_it(name: str) -> None:
    files, source, expected, beside = PUBLISHED[name]
    found = chosen(files, source)
    assert weights(found) == sorted(expected)
    taken = {path.text for path in found.roles}
    assert set(beside) <= taken
    assert {line.partition(": ")[0] for line in found.left_out} == set(files) - taken
    assert Role.CODE not in found.roles.values()
