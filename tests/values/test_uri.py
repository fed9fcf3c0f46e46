from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelshelf.errors import Refused
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
    ["", "qwen3", "ollama://", "ollama://a/b/c/d/e", "ollama://../x", "ollama://a:", "hf://", "hf://a", "hf://a/b@", "hf://a/b:",
     "hf://a/b@../x", "hf://a/../b", "s4://x", "http://x/y", "ollama://a b", "hf://a/b c", "ollama://h\n/a/b", "hf://a--b/c"],
)  # fmt: skip
def test_a_wrong_uri_says_what_is_expected(text: str) -> None:
    with pytest.raises(Refused, match="expected|Expected"):
        parse_source(text)


@given(st.text(max_size=80), st.sampled_from(["ollama://", "hf://", ""]))
def test_any_text_is_a_source_that_prints_back_or_is_refused(text: str, scheme: str) -> None:
    try:
        uri = parse_source(scheme + text)
    except Refused:
        return
    assert parse_source(str(uri)) == uri
    assert isinstance(uri, OllamaUri | HuggingFaceUri)
