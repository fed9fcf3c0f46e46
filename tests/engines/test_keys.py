"""A key that an engine could read as a comment, as two, or as none is neither stored nor used."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.engine_key import EngineKey
from modelshelf.cli import launcher
from modelshelf.cli.login import login
from modelshelf.engines.keys import require_usable
from modelshelf.errors import BadSetting
from modelshelf.library.launching.request import LaunchRequest
from modelshelf.settings import Settings
from tests.library.test_launch import launch, ready
from tests.nodes.local import key_file

__all__ = ["ready"]
UNUSABLE = [
    "#hashkey",
    "",
    " a-key",
    "two keys",
    "one,two",
    "clé",
    "tab\tkey",
    "line\nkey",
    ";key",
    "-key",
    "k" * 201,
    "a\x00b",
    "a\x7f",
]


@pytest.mark.parametrize("key", UNUSABLE)
def test_an_ambiguous_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(BadSetting) as refused:
        require_usable(key)
    assert not key or key not in str(refused.value) + repr(refused.value.facts)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), max_size=199))
def test_what_is_left_has_one_reading(rest: str) -> None:
    key = f"k{rest}"
    assert require_usable(key) == key
    assert f"{key}\n".splitlines() == [key] == [key.strip()] == key.split(",") == key.split()


@pytest.mark.parametrize("key", ["#hashkey", "one,two"])
def test_login_stores_none(key: str, monkeypatch: pytest.MonkeyPatch, home: Settings) -> None:
    def no_server(*_: object) -> None:
        raise AssertionError("nothing may be stored")

    monkeypatch.setattr(launcher, "ensure", no_server)
    done = CliRunner().invoke(login, ["engine", "door"], input=f"{key}\n")
    assert isinstance(done.exception, BadSetting)
    assert key not in done.output


def test_a_block_that_was_written_in_the_ui_is_checked_when_it_is_used() -> None:
    with pytest.raises(BadSetting):
        EngineKey(key=SecretStr("#hashkey")).open()
    assert EngineKey(key=SecretStr("door-key")).open() == "door-key"


def test_no_key_file_is_written_with_one(ready) -> None:  # type: ignore[no-untyped-def]
    library, version = ready
    made = launch(library, version, LaunchRequest(key_block="door"), key="the-key")
    with pytest.raises(BadSetting):
        library.node.prepare(made.label, [], None, bind=made.bind, port=made.port, key="#hashkey")
    assert key_file(library, made).read_text() == "the-key\n"
