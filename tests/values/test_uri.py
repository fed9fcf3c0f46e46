from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelshelf.cli.options import source
from modelshelf.errors import NoScheme, Refused
from modelshelf.names import ModelRef, tag_for
from modelshelf.sources.uri import HuggingFaceUri, OllamaName, OllamaUri, parse_source


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag"),
    [
        ("qwen3", "registry.ollama.ai", "library/qwen3", "latest"),
        ("qwen3:0.6b", "registry.ollama.ai", "library/qwen3", "0.6b"),
        ("someone/model", "registry.ollama.ai", "someone/model", "latest"),
        ("hf.co/org/repo:Q4_K_M", "hf.co", "org/repo", "Q4_K_M"),
        ("127.0.0.1:5000/library/x:y", "127.0.0.1:5000", "library/x", "y"),
    ],
)
def test_a_model_of_a_registry_is_named_as_for_ollama_pull(text: str, host: str, repository: str, tag: str) -> None:
    name = OllamaName.parse(text)
    assert (str(name.host), name.repository, str(name.tag)) == (host, repository, tag)
    assert OllamaName.parse(str(name)) == name


def test_a_repository_of_the_hub_is_main_unless_it_says_otherwise() -> None:
    uri = parse_source("hf://org/Repo-GGUF")
    assert isinstance(uri, HuggingFaceUri)
    assert (str(uri.revision), uri.quantization, str(uri.model)) == ("main", None, "repo-gguf")
    named = parse_source("hf://org/repo@v1.2:Q4_K_M")
    assert isinstance(named, HuggingFaceUri)
    assert (str(named.revision), named.quantization) == ("v1.2", "Q4_K_M")


@pytest.mark.parametrize(
    "text",
    ["", "qwen3", "ollama://", "ollama://a/b/c/d/e", "ollama://../x", "ollama://a:", "hf://", "hf://a/b/c", "hf://a/b@", "hf://a/b:",
     "hf://a/b@../x", "hf://a/../b", "s4://x", "http://x/y", "ollama://a b", "hf://a/b c", "ollama://h\n/a/b", "hf://a--b/c"],
)  # fmt: skip
def test_a_wrong_uri_says_what_is_expected(text: str) -> None:
    with pytest.raises(Refused, match="expected|Expected"):
        parse_source(text)


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("https://huggingface.co/org/repo", "hf://org/repo"),
        ("https://huggingface.co/org/repo/", "hf://org/repo"),
        ("http://www.huggingface.co/org/repo?library=transformers#top", "hf://org/repo"),
        ("huggingface.co/org/repo", "hf://org/repo"),
        ("hf.co/org/repo:Q4_K_M", "hf://org/repo:Q4_K_M"),
        ("https://huggingface.co/gpt2", "hf://gpt2"),
        ("https://huggingface.co/gpt2/tree/main", "hf://gpt2"),
        ("https://huggingface.co/org/repo/tree/main", "hf://org/repo"),
        ("https://huggingface.co/org/repo/tree/v1.0%2Bcu12", "hf://org/repo@v1.0+cu12"),
        ("https://huggingface.co/org/repo/tree/refs%2Fpr%2F3", "hf://org/repo@refs/pr/3"),
        ("https://huggingface.co/org/repo/resolve/refs/pr/3/x.gguf", "hf://org/repo@refs/pr/3:x.gguf"),
        ("https://huggingface.co/org/repo/commit/" + "a" * 40, "hf://org/repo@" + "a" * 40),
        ("https://huggingface.co/org/repo/blob/main/x-Q4_K_M.gguf", "hf://org/repo:x-Q4_K_M.gguf"),
        ("https://huggingface.co/org/repo/blob/dev/a%20b/x.gguf", "hf://org/repo@dev:a b/x.gguf"),
        ("https://huggingface.co/org/repo/resolve/main/x.safetensors?download=true", "hf://org/repo:x.safetensors"),
        ("https://huggingface.co/org/repo/blob/main/README.md", "hf://org/repo"),
        ("https://huggingface.co/org/repo/discussions/4", "hf://org/repo"),
        ("https://huggingface.co/org/repo?show_file_info=x-Q8_0.gguf", "hf://org/repo:x-Q8_0.gguf"),
        ("https://ollama.com/library/qwen3:0.6b", "ollama://qwen3:0.6b"),
        ("ollama.com/library/qwen3", "ollama://qwen3:latest"),
        ("https://ollama.com/library/qwen3/tags", "ollama://qwen3:latest"),
        ("https://ollama.com/someone/model:1.0+cu12", "ollama://someone/model:1.0+cu12"),
        ("https://registry.ollama.ai/library/qwen3:4b", "ollama://qwen3:4b"),
    ],
)
def test_the_address_of_a_models_page_is_a_source(address: str, uri: str) -> None:
    assert str(parse_source(address)) == uri
    assert str(source(address)) == uri
    assert parse_source(uri) == parse_source(address)


@pytest.mark.parametrize(
    "address",
    ["https://huggingface.co", "https://huggingface.co/datasets/a/b", "huggingface.co/spaces/a/b", "https://ollama.com/library",
     "https://example.org/org/repo", "https://huggingface.co/org/repo/tree/a..b", "https://ollama.com/search?q=x"],
)  # fmt: skip
def test_another_page_is_refused(address: str) -> None:
    with pytest.raises(Refused, match="Expected for example"):
        parse_source(address)


def test_a_form_takes_an_address_too() -> None:
    assert str(HuggingFaceUri.of("https://huggingface.co/org/repo/tree/v1", "main", "Q8_0")) == "hf://org/repo@v1:Q8_0"
    assert str(HuggingFaceUri.of("https://huggingface.co/org/repo/blob/v1/x.gguf", "v2", "")) == "hf://org/repo@v2:x.gguf"
    assert str(HuggingFaceUri.of("gpt2", "main", "")) == "hf://gpt2"
    assert str(OllamaName.parse("https://ollama.com/library/qwen3:4b")) == "qwen3:4b"
    with pytest.raises(Refused):
        OllamaName.parse("registry.ollama.ai/a/b/c/d")


def test_a_version_is_named_by_its_publishers_tag_too() -> None:
    assert ModelRef.parse("m:1.0+cu12").tag == tag_for("1.0+cu12")


def test_a_folder_in_a_repository_is_refused_with_the_command_that_takes_it() -> None:
    with pytest.raises(Refused, match=r"`modelshelf import hf://org/repo@v2 --include 'my model/\*'`"):
        parse_source("https://huggingface.co/org/repo/tree/v2/my%20model")


@pytest.mark.parametrize(
    "text", ["file:///models/a:Q4_K_M", "file:///models/a:x-Q8_0.gguf", "fs://shared/a/b:Q8_0", "hf://o/r@v1:a/x.gguf"]
)
def test_each_source_of_files_takes_a_quantisation_or_a_file(text: str) -> None:
    assert str(parse_source(text)) == text


def test_a_path_may_end_with_a_quantisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "with:colon").mkdir()
    assert str(source("m:Q4_K_M")) == str(source("./m:Q4_K_M")) == f"file://{tmp_path}/m:Q4_K_M"
    assert str(source("./with:colon")) == f"file://{tmp_path}/with:colon"
    assert str(source("./with:colon:Q8_0")) == f"file://{tmp_path}/with:colon:Q8_0"


@pytest.mark.parametrize("text", ["gpt2", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B-GGUF:Q8_0"])
def test_a_model_without_a_scheme_is_refused_with_the_commands_that_may_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoScheme) as refused:
        source(text)
    commands = [f"`modelshelf import {scheme}://{text}`" for scheme in ("hf", "ollama")]
    assert str(refused.value).endswith(f"name where: {' or '.join(commands)}.")
    for command in commands:
        assert str(source(command.strip("`").split()[-1])).startswith(command.strip("`").split()[-1])
    (tmp_path / text).mkdir(parents=True)
    assert str(source(text)) == f"file://{tmp_path / text}", "what is there is meant"


@pytest.mark.parametrize("text", ["./gpt2", "../gpt2", "~/gpt2", "/gpt2"])
def test_what_is_written_as_a_path_is_one(text: str) -> None:
    assert str(source(text)).startswith("file:///")


@given(st.text(max_size=80), st.sampled_from(["ollama://", "hf://", ""]))
def test_any_text_is_a_source_that_prints_back_or_is_refused(text: str, scheme: str) -> None:
    try:
        uri = parse_source(scheme + text)
    except Refused:
        return
    assert parse_source(str(uri)) == uri
    assert isinstance(uri, OllamaUri | HuggingFaceUri)


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_two_names_of_a_source_never_share_a_tag_by_what_a_tag_cannot_have(first: str, second: str) -> None:
    first, second = first.replace("/", "-"), second.replace("/", "-")
    assert (tag_for(first) == tag_for(second)) == (first == second)


def test_an_ordinary_revision_is_its_own_tag() -> None:
    for text in ("main", "v1.0", "refs-pr-1", "Q4_K_M", "1.0_12", "a_b"):
        assert str(tag_for(text)) == text
    assert str(tag_for("1.0+cu12")) == "1.0_x2B_cu12"
    assert str(tag_for("feature/x", "Q8_0")) == "feature-x-Q8_0"
