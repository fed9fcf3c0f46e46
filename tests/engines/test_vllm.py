"""vLLM writes below its instance alone, keeps the label of its processes, and takes no key that guards a part of its paths."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from modelshelf.digest import Digest
from modelshelf.engines.contract import Command, Model, Surroundings
from modelshelf.engines.vllm import Vllm
from modelshelf.errors import BadSetting
from modelshelf.formats.image import PackedFile
from modelshelf.formats.kinds import Format, Role
from modelshelf.names import FilePath, ServedName


def command(category: str = "chat", own: str = "/own") -> Command:
    files = (PackedFile(FilePath("config.json"), Role.CONFIG, Digest.of(b""), 0),)
    model = Model(ServedName("m"), category, Format.SAFETENSORS, files)
    return Vllm().command([model], Surroundings((PurePosixPath("/m"),), PurePosixPath(own), "127.0.0.1", 8000), [])


def test_what_it_compiles_and_caches_is_below_the_instance() -> None:
    environment = command().environment
    for name in ("HOME", "XDG_CACHE_HOME", "VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "NUMBA_CACHE_DIR"):
        assert PurePosixPath(environment[name]).is_relative_to("/own"), name


def test_it_asks_nobody() -> None:
    environment = command().environment
    assert {environment[name] for name in ("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "SPT_NOENV")} == {"1"}


@pytest.mark.parametrize(("folder", "given"), [("/tmp/own", True), ("/tmp/" + "x" * 60, False)])
def test_temporary_files_are_below_the_instance_where_sockets_have_room(folder: str, *, given: bool) -> None:
    assert ("TMPDIR" in command(own=folder).environment) is given


@pytest.mark.parametrize(("category", "pooling"), [("chat", False), ("embedding", True), ("reranker", True)])
def test_what_is_pooled_has_its_runner(category: str, *, pooling: bool) -> None:
    assert ("--runner" in command(category).arguments) is pooling


def test_its_own_key_is_refused_with_the_reason() -> None:
    with pytest.raises(BadSetting, match=r"/invocations.*put a proxy"):
        Vllm().require_environment({"VLLM_API_KEY": "secret-key"})
    with pytest.raises(BadSetting) as refused:
        Vllm().require_environment({"VLLM_API_KEY": "secret-key"})
    assert "secret-key" not in str(refused.value)
