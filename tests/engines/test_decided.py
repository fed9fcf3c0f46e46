"""What modelshelf decides of an engine cannot be set by its arguments or environment, neither at a launch nor in a template."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelshelf.engines.table import engine_called
from modelshelf.errors import BadSetting
from modelshelf.library.launching.request import LaunchRequest, LaunchSettings
from modelshelf.library.launching.rules import require_settings
from modelshelf.library.opening import Library
from modelshelf.library.templates import define
from modelshelf.names import InstanceName, ServedName, TemplateName
from tests.library.test_launch import SERVED, with_engine
from tests.making import P, bring_in, gguf, launch_all, ollama_source
from tests.stand_ins.ollama_registry import OllamaRegistry


def require(engine: str, arguments: tuple[str, ...] = (), environment: tuple[str, ...] = ()) -> None:
    settings = LaunchSettings(engine, arguments=arguments, environment=environment)
    require_settings(engine_called(engine), settings)


@pytest.mark.parametrize(
    ("engine", "arguments", "reason"),
    [
        ("llamacpp", ("--host", "0.0.0.0"), "--bind"),
        ("llamacpp", ("--threads", "1", "--port", "1"), "--port"),
        ("llamacpp", ("--api_key_file", "/dev/null"), "--key"),
        ("llamacpp", ("--api-prefix", "/x"), "proxy"),
        ("llamacpp", ("-hf", "someone/model"), "-hf"),
        ("vllm", ("--host=0.0.0.0",), "--bind"),
        ("vllm", ("--hos", "0.0.0.0"), "--bind"),
        ("vllm", ("--served_model_name", "x"), "--name"),
        ("vllm", ("--uds", "/tmp/s"), "proxy"),
        ("ollama", ("--anything",), "--env"),
    ],
)
def test_an_argument_that_modelshelf_decides_is_refused(engine: str, arguments: tuple[str, ...], reason: str) -> None:
    with pytest.raises(BadSetting, match=reason):
        require(engine, arguments)


@pytest.mark.parametrize(
    ("engine", "arguments"),
    [
        ("llamacpp", ("--ctx-size", "8192", "--jinja", "--chat-template", "--", "--models-max", "2")),
        ("vllm", ("--enforce-eager", "--max-model-len=100", "--model-impl", "vllm")),
        ("ollama", ()),
    ],
)
def test_other_arguments_are_the_users(engine: str, arguments: tuple[str, ...]) -> None:
    require(engine, arguments)


@pytest.mark.parametrize(
    ("engine", "pair"),
    [
        ("llamacpp", "LLAMA_API_KEY=k"),
        ("llamacpp", "LLAMA_ARG_SSL_KEY_FILE=/k"),
        ("llamacpp", "GGML_BACKEND_PATH=/tmp/x.so"),
        ("vllm", "VLLM_API_KEY=k"),
        ("ollama", "PATH=/tmp"),
        ("ollama", "MODELSHELF_INSTANCE=another"),
        ("ollama", "OPENAI_API_KEY=k"),
        ("vllm", "HF_TOKEN=k"),
    ],
)
def test_an_environment_that_modelshelf_decides_or_that_holds_a_secret_is_refused(engine: str, pair: str) -> None:
    with pytest.raises(BadSetting, match=pair.partition("=")[0]) as caught:
        require(engine, environment=(pair,))
    assert "=k" not in str(caught.value)


def test_settings_of_the_engine_are_the_users() -> None:
    require("ollama", environment=("OLLAMA_CONTEXT_LENGTH=4096", "CUDA_VISIBLE_DEVICES=0", "VLLM_MAX_TOKENS=3"))


def test_a_template_refuses_what_its_launch_would_refuse(library: Library, registry: OllamaRegistry, tmp_path: Path) -> None:
    registry.add_model("library/tiny", "1b", gguf(), template="t")
    version, _ = bring_in(library, ollama_source(registry))
    library = with_engine(library, tmp_path)
    asked = LaunchRequest(engine="llamacpp", arguments=("--host", "0.0.0.0"))
    with pytest.raises(BadSetting, match="--bind"):
        define(library, P, TemplateName("open"), [(version.ref, ServedName("m"))], asked, who="test")
    with pytest.raises(BadSetting, match="--bind"):
        launch_all(library, InstanceName("open"), ((version, SERVED),), asked)
