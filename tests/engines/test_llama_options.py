"""The wheel's server takes what llama-server takes, each option with its effect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelshelf.engines import llama_options

xllamacpp = pytest.importorskip("xllamacpp")


def params(*arguments: str) -> Any:
    made = xllamacpp.CommonParams()
    llama_options.apply(made, arguments, enums=xllamacpp)
    return made


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--jinja"], "use_jinja", True),
        (["--no-jinja"], "use_jinja", False),
        (["-fa", "on"], "flash_attn_type.name", "LLAMA_FLASH_ATTN_TYPE_ENABLED"),
        (["--flash-attn", "off"], "flash_attn_type.name", "LLAMA_FLASH_ATTN_TYPE_DISABLED"),
        (["-fa", "auto"], "flash_attn_type.name", "LLAMA_FLASH_ATTN_TYPE_AUTO"),
        (["--embeddings"], "embedding", True),
        (["--rerank"], "pooling_type.name", "LLAMA_POOLING_TYPE_RANK"),
        (["--reranking"], "embedding", True),
        (["--pooling", "cls"], "pooling_type.name", "LLAMA_POOLING_TYPE_CLS"),
        (["--cache-type-k", "q8_0"], "cache_type_k.name", "GGML_TYPE_Q8_0"),
        (["-ctv", "q4_0"], "cache_type_v.name", "GGML_TYPE_Q4_0"),
        (["--no-mmap"], "load_mode.name", "LLAMA_LOAD_MODE_NONE"),
        (["--mlock"], "load_mode.name", "LLAMA_LOAD_MODE_MMAP_MLOCK"),
        (["--mlock", "--no-mmap"], "load_mode.name", "LLAMA_LOAD_MODE_MLOCK"),
        (["--no-mmap", "--mlock"], "load_mode.name", "LLAMA_LOAD_MODE_MLOCK"),
        (["--metrics"], "endpoint_metrics", True),
        (["--threads", "3"], "cpuparams.n_threads", 3),
        (["--threads-batch", "5"], "cpuparams_batch.n_threads", 5),
        (
            ["--n-cpu-moe", "2"],
            "tensor_buft_overrides",
            r"blk\.0\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU,blk\.1\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU",
        ),
        (["--model-draft", "/d.gguf"], "speculative.draft.mparams.path", "/d.gguf"),
        (["-fit", "off"], "fit_params", False),
        (["--rope-scale", "4"], "rope_freq_scale", 0.25),
        (["--rope-freq-base", "1000000"], "rope_freq_base", 1_000_000.0),
        (["--rope-scaling", "yarn"], "rope_scaling_type.name", "LLAMA_ROPE_SCALING_TYPE_YARN"),
        (["--temp", "0"], "sampling.temp", 0.0),
        (["--top-k", "7"], "sampling.top_k", 7),
        (["--top-p", "0.5"], "sampling.top_p", 0.5),
        (["--seed", "-1"], "sampling.seed", 4_294_967_295),
        (["--reverse-prompt", "--", "-r", "x"], "antiprompt", ["--", "x"]),
        (["--no-webui"], "ui", False),
        (["--cors-origins", "localhost"], "cors_origins", "localhost"),
        (["--ctx_size", "64"], "n_ctx", 64),
        (["-c", "64", "--ctx-size", "128"], "n_ctx", 128),
        (["-ngl", "all"], "n_gpu_layers", -2),
        (["-ngl", "0"], "n_gpu_layers", 0),
        (["--alias", "a,b"], "model_alias", {"a", "b"}),
        (["--chat-template-kwargs", '{"enable_thinking": false}'], "default_template_kwargs", {"enable_thinking": "false"}),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_each_option_has_its_effect(arguments: list[str], field: str, value: object) -> None:
    found = params(*arguments)
    for name in field.split("."):
        found = getattr(found, name)
    assert found == value


def test_adapters_are_taken_one_by_one_or_in_a_list_and_scaled() -> None:
    made = params("--lora", "/a.gguf", "--lora", "/b.gguf,/c.gguf", "--lora-scaled", "/d:e.gguf:0.5")
    found = [(one.path, one.scale) for one in made.lora_adapters]
    assert found == [("/a.gguf", 1.0), ("/b.gguf", 1.0), ("/c.gguf", 1.0), ("/d:e.gguf", 0.5)]


def test_a_template_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text("{{ messages }}")
    assert params("--chat-template-file", str(tmp_path / "t.jinja")).chat_template == "{{ messages }}"


def test_a_key_file_without_a_key_is_refused(tmp_path: Path) -> None:
    """llama-server takes a line that begins with `#` as a comment, and then asks for no key."""
    (tmp_path / "key").write_text("#hashkey\n")
    with pytest.raises(llama_options.BadOption, match="it has no key"):
        params("--api-key-file", str(tmp_path / "key"))
    (tmp_path / "key").write_text("# a comment\nthe-key\n")
    assert params("--api-key-file", str(tmp_path / "key")).api_keys == ["the-key"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--spec-type", "x"], "invalid argument: --spec-type.*llamacpp_server"),
        (["--ctx-size"], "expected value for argument: --ctx-size"),
        (["--ctx-size", "many"], "'--ctx-size': 'many'"),
        (["--cache-type-k", "q9"], "'--cache-type-k': 'q9'"),
        (["stray"], "invalid argument: stray"),
    ],
)
def test_what_is_not_taken_is_named(arguments: list[str], words: str) -> None:
    with pytest.raises(llama_options.BadOption, match=words):
        params(*arguments)


def test_the_command_ends_with_the_name_of_the_option_and_what_to_do() -> None:
    command = [sys.executable, "-m", "modelshelf.engines.llama_server", "--model", "/m.gguf", "--jinjaa"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: invalid argument: --jinjaa: ")
    assert "`llamacpp_server` in config.toml" in done.stderr
