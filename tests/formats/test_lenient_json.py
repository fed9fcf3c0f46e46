"""A publisher's configuration is read as its own programs read it, and code that it names is found however it is written."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest

from modelshelf.errors import NamesCode, NotWhatItSays
from modelshelf.formats.allowed import inspect_file
from modelshelf.formats.lenient_json import read_leniently
from modelshelf.formats.named_code import may_name_code, named_code, refuse_named_code
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.names import FilePath
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from tests.making import bring_in, hub_source, safetensors, write
from tests.stand_ins.hub import Hub

CONFIG = FilePath("config.json")
FORMS = [
    b'{"n_ctx": 9, "model_max_length": 1000000000000000019884624838656}',
    b'{"n_ctx": 9, "model_max_length": ' + b"9" * 5000 + b"}",
    b'{"n_ctx": 9, "time_step_limit": [0.0, Infinity], "low": -Infinity, "none": NaN}',
    b'\xef\xbb\xbf{"n_ctx": 9}',
    '{"n_ctx": 9, "name": "ü"}'.encode("utf-16"),
    '{"n_ctx": 9, "name": "ü"}'.encode("utf-16-be"),
    b'{"n_ctx": 8, "n_ctx": 9}',
    b'{"n_ctx": 9, "name": "caf\xe9"}',
    b'{"n_ctx": 9, "name": "a\ttab"}',
]


@pytest.mark.parametrize("content", FORMS)
def test_a_configuration_is_read_in_every_form_that_its_own_programs_write(content: bytes) -> None:
    document = read_leniently(content)
    assert document is not None
    assert document.value["n_ctx"] == 9


@pytest.mark.parametrize("content", FORMS)
def test_a_model_with_such_a_configuration_is_imported_and_its_facts_are_known(
    library: Library, tmp_path: Path, content: bytes
) -> None:
    write(tmp_path / "m" / "model.safetensors", safetensors())
    write(tmp_path / "m" / "config.json", content)
    write(tmp_path / "m" / "tokenizer_config.json", content.replace(b"n_ctx", b"n_ttx"))
    version, _ = bring_in(library, FolderSource(FolderUri(tmp_path / "m")))
    assert (version.state, version.facts.context_length) == ("ready", 9)


def test_numbers_that_no_integer_holds_are_read_as_what_they_are_nearest_to() -> None:
    document = read_leniently(b"[" + b"9" * 5000 + b", Infinity, 12]")
    assert document is not None
    assert document.value == [math.inf, math.inf, 12]


@pytest.mark.parametrize("content", [b"", b"{", b"not json", b"[" * 100_000, b"[" * 100 + b"]" * 100, b'{"a": }'])
def test_what_is_not_json_or_too_deep_is_unknown(content: bytes) -> None:
    assert read_leniently(content) is None


def test_a_configuration_over_its_bound_is_unknown_and_not_searched_in_part() -> None:
    small = replace(DEFAULT, api_body_bytes=20)
    assert read_leniently(b"[" + b" " * 20 + b"]", small) is None
    with pytest.raises(NamesCode, match="only files below 20 bytes"):
        refuse_named_code(b'{"a": 1}' + b" " * 20, CONFIG, small)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b'{"auto_map": {"AutoModel": "code.Model"}}'),
        ("config.json", rb'{"\u0061uto_map": {"AutoModel": "code.Model"}}'),
        ("config.json", rb'{"\u0061\u0075\u0074\u006F\u005fmap": {"AutoModel": "code.Model"}}'),
        ("config.json", b'{"auto_map": {"AutoModel": "code.Model"}, "auto_map": null}'),
        ("config.json", b'{"x": {"auto_map": {"AutoModel": "code.Model"}}, "x": 1}'),
        ("config.json", b'{"limit": Infinity, "x": NaN, "auto_map": {"AutoModel": "code.Model"}}'),
        ("config.json", b'{"n": ' + b"9" * 5000 + b', "auto_map": {"AutoModel": "code.Model"}}'),
        ("config.json", b'\xef\xbb\xbf{"auto_map": {"AutoModel": "code.Model"}}'),
        ("config.json", '{"auto_map": {"AutoModel": "code.Model"}}'.encode("utf-16")),
        ("config.json", '{"auto_map": {"AutoModel": "code.Model"}}'.encode("utf-32")),
        ("config.json", b'{"caf\xe9": 1, "auto_map": {"AutoModel": "code.Model"}}'),
        ("config.json", b'{"auto_map": {"AutoModel": "code.Model"},}'),
        ("config.json", rb"{'\u0061uto_map': 1}"),
        ("config.json", b"[" * 100 + b'{"auto_map": 1}' + b"]" * 100),
        ("tokenizer_config.json", b'{"auto_map": {"AutoTokenizer": ["other/repo--code.T", null]}}'),
        ("preprocessor_config.json", b'{"auto_map": {"AutoProcessor": "code.P"}}'),
        ("sub/config.json", b'{"auto_map": {"AutoModel": "code.Model"}}'),
        ("Config.JSON", b'{"auto_map": {"AutoModel": "code.Model"}}'),
        ("configuration.json", b'{"auto_map": {"AutoModel": "code.Model"}}'),
        ("config.json", b'{"custom_pipelines": {"mine": {"impl": "pipe.Mine"}}}'),
        ("sentence_bert_config.json", b'{"model_args": {"trust_remote_code": true}}'),
        ("modules.json", b'[{"idx": 0, "type": "custom_st.Transformer"}]'),
        ("modules.json", b'[{"idx": 0, "type": "other/repo--custom_st.Transformer"}]'),
        ("model_index.json", b'{"_class_name": ["pipeline", "Mine"]}'),
    ],
)  # fmt: skip
def test_code_that_a_configuration_names_is_found_however_it_is_written(name: str, content: bytes) -> None:
    assert may_name_code(FilePath(name))
    with pytest.raises(NamesCode):
        refuse_named_code(content, FilePath(name))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b'{"architectures": ["LlamaForCausalLM"], "note": "no auto_map here", "trust_remote_code": false}'),
        ("config.json", b"{"),
        ("tokenizer_config.json", b'{"chat_template": "{{ auto_map }}"}'),
        ("modules.json", b'[{"idx": 0, "type": "sentence_transformers.models.Transformer"}]'),
        ("model_index.json", b'{"_class_name": "FluxPipeline", "vae": ["diffusers", "AutoencoderKL"]}'),
    ],
)  # fmt: skip
def test_a_configuration_that_names_no_code_is_taken(name: str, content: bytes) -> None:
    refuse_named_code(content, FilePath(name))


def test_code_in_a_configuration_with_infinity_stops_the_import_before_the_weights(hub: Hub, library: Library) -> None:
    weights = safetensors(400_000)
    named = b'{"limit": Infinity, "\\u0061uto_map": {"AutoModel": "modeling_x.XModel"}}'
    hub.repo("org/m").commit({"config.json": named, "model.safetensors": weights})
    sent = hub.body_bytes
    with pytest.raises(NamesCode, match=r"modeling_x\.XModel.*--allow-code"):
        bring_in(library, hub_source(hub, "org/m"))
    assert hub.body_bytes - sent < len(weights), "no byte of the weights"


@pytest.mark.parametrize("content", ['{"a": 1}'.encode("utf-16"), b"null", b"-1", b"NaN", b"\xef\xbb\xbf[]", b" \n{}"])
def test_json_is_known_by_its_first_letter_in_every_encoding(content: bytes) -> None:
    inspect_file(io.BytesIO(content), len(content), CONFIG)


def test_a_script_that_is_called_json_is_refused() -> None:
    for content in (b"#!/bin/sh", b"<html>", "#!/bin/sh".encode("utf-16"), b"this is not JSON"):
        with pytest.raises(NotWhatItSays):
            inspect_file(io.BytesIO(content), len(content), CONFIG)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b'{"auto_map": {"AutoConfig": "c.Config", "AutoModel": "m.Model", "AutoModelForX": "m.Model"}}',
            "auto_map: c.Config, m.Model",
        ),
        (b'{"auto_map": {"AutoTokenizer": ["other/repo--code.T", null]}}', "auto_map: other/repo--code.T"),
        (b'{"custom_pipelines": {"mine": {"impl": "pipe.Mine", "pt": ["AutoModel"]}}}', "custom_pipelines: pipe.Mine, AutoModel"),
        (b'{"trust_remote_code": true}', "trust_remote_code: true"),
        (b'{"auto_map": null}', "auto_map: nothing"),
        (b'{"_class_name": ["pipeline", "Mine"]}', "_class_name: pipeline, Mine"),
    ],
)
def test_the_code_that_is_named_is_listed_as_files_and_classes(content: bytes, words: str) -> None:
    assert named_code(content) == words
