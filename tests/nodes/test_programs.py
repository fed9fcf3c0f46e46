"""Which program an engine is on this machine, and what a person is told where there is none."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelshelf.engines.contract import Program
from modelshelf.engines.table import engine_called
from modelshelf.errors import EngineMissing
from modelshelf.nodes.programs import Programs


@dataclass
class Named:
    """An engine of which only the program matters."""

    program: Program
    name: str = "some"


def test_a_module_of_ours_is_run_by_this_python_if_its_package_is_there() -> None:
    assert Programs().of(engine_called("llamacpp")) == (sys.executable, "-m", "modelshelf.engines.llama_server")
    absent = Named(Program("Install it.", module="m", package="no_such_package"))
    with pytest.raises(EngineMissing, match=r"package no_such_package is not installed.*Install it\."):
        Programs().of(absent)  # type: ignore[arg-type]


def test_the_executable_that_a_setting_names_takes_its_place(tmp_path: Path) -> None:
    server = tmp_path / "llama-server"
    named = Programs({"llamacpp_server": str(server)})
    with pytest.raises(EngineMissing, match=r"cannot be executed.*Correct `llamacpp_server` in config\.toml"):
        named.of(engine_called("llamacpp"))
    server.touch(mode=0o755)
    assert named.of(engine_called("llamacpp")) == (str(server),)


@pytest.mark.parametrize(("engine", "advice"), [("ollama", "ollama.com"), ("vllm", "pip install vllm")])
def test_an_executable_is_looked_up_on_path(engine: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing, match=rf"no `{engine}` on PATH.*{advice}"):
        Programs({"llamacpp_server": "/bin/sh"}).of(engine_called(engine))
    (tmp_path / engine).touch(mode=0o755)
    assert Programs().of(engine_called(engine)) == (str(tmp_path / engine),)
