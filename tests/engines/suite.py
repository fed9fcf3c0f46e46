"""What every engine keeps true. An engine's own test file inherits this, and says which version it is given."""

from __future__ import annotations

import builtins
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath

import click
import pytest

from modelshelf.cli.main import cli
from modelshelf.digest import Digest
from modelshelf.engines.contract import Engine, Model, Surroundings
from modelshelf.engines.table import ENGINES, engine_called, serving
from modelshelf.errors import BadSetting, NothingToServe, Unavailable
from modelshelf.formats.image import PackedFile
from modelshelf.formats.kinds import Role
from modelshelf.names import CATEGORIES, FilePath, ServedName
from modelshelf.wire import Url, Wire

AT = Surroundings((PurePosixPath("/inside/replica"),), PurePosixPath("/inside/own"), "127.0.0.1", 18080)
KEYED = replace(AT, key_file=PurePosixPath("/inside/own/key"))
SECRET = "canary-key"


def file(name: str, role: Role = Role.WEIGHT) -> PackedFile:
    return PackedFile(FilePath(name), role, Digest.of(name.encode()), len(name))


@contextmanager
def machine_out_of_reach() -> Iterator[None]:
    """Within, nothing looks for a program or touches a file: that is a node's."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("an engine looked at this machine")

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((shutil, "which"), (os, "open"), (os, "stat"), (os, "mkdir"), (builtins, "open")):
            patch.setattr(owner, name, refused)
        yield


class EngineSuite:
    @pytest.fixture
    def engine(self) -> Engine:
        raise NotImplementedError

    @pytest.fixture
    def model(self) -> Model:
        """A version that the engine serves, as a chat."""
        raise NotImplementedError

    def test_the_table_has_it_under_its_name(self, engine: Engine, model: Model) -> None:
        assert engine_called(engine.name) is engine_called(engine.name)
        assert type(engine_called(engine.name)) is type(engine)
        assert engine.name in ENGINES
        assert engine.name in serving(model.format)

    def test_it_says_what_it_serves(self, engine: Engine, model: Model) -> None:
        assert model.format in engine.accepts
        assert {"chat"} <= engine.categories <= set(CATEGORIES)
        assert engine.models_at_once >= 1

    def test_a_node_knows_what_to_look_for_and_what_to_advise(self, engine: Engine) -> None:
        program = engine.program
        assert bool(program.executable) != bool(program.module)
        assert bool(program.module) == bool(program.package)
        assert bool(program.setting) == bool(program.setting_advice)
        assert program.advice.endswith(".")

    def test_its_command_and_layout_are_the_same_every_time(self, engine: Engine, model: Model) -> None:
        with machine_out_of_reach():
            assert engine.command([model], AT, []) == engine.command([model], AT, [])
            assert engine.layout([model]) == engine.layout([model])
            assert engine.left_out(model) == engine.left_out(replace(model, files=())), "it is known before the files are"

    def test_its_command_names_paths_as_the_engine_sees_them(self, engine: Engine, model: Model) -> None:
        made = engine.command([model], KEYED if engine.takes_key else AT, [])
        paths = [word for word in (*made.arguments, *made.environment.values()) if word.startswith("/")]
        assert paths
        assert all(path.startswith("/inside/") for path in paths)

    def test_it_listens_where_it_is_told(self, engine: Engine, model: Model) -> None:
        made = engine.command([model], replace(AT, bind="::1"), [])
        assert re.search(r"--host ::1 --port 18080|\[::1\]:18080", " ".join((*made.arguments, *made.environment.values())))

    def test_a_key_is_named_by_its_file_alone(self, engine: Engine, model: Model) -> None:
        named = str(KEYED.key_file) in engine.command([model], KEYED, []).arguments
        assert named is engine.takes_key
        assert str(KEYED.key_file) not in engine.command([model], AT, []).arguments

    def test_what_a_user_adds_comes_last(self, engine: Engine, model: Model) -> None:
        if engine.takes_arguments:
            engine.require_arguments(["--seed", "7"])
            assert engine.command([model], AT, ["--seed", "7"]).arguments[-2:] == ("--seed", "7")
        else:
            with pytest.raises(BadSetting):
                engine.require_arguments(["--seed", "7"])

    @pytest.mark.parametrize("arguments", [("--host", "0.0.0.0"), ("--port", "1")])
    def test_its_address_is_not_the_users(self, engine: Engine, arguments: tuple[str, ...]) -> None:
        with pytest.raises(BadSetting):
            engine.require_arguments(arguments)

    def test_its_layout_links_files_of_the_models_alone(self, engine: Engine, model: Model) -> None:
        second = replace(model, served_name=ServedName("other"))
        models = [model, second][: engine.models_at_once]
        layout = engine.layout(models)
        for number, path in layout.links.values():
            assert path in {file.path for file in models[number].files}
        assert not layout.links.keys() & layout.copies.keys()

    def test_what_is_empty_cannot_be_served(self, engine: Engine, model: Model) -> None:
        empty = replace(model, files=(), parts=None)
        with pytest.raises(NothingToServe):  # the layout comes first
            (engine.layout([empty]), engine.command([empty], AT, []))

    def test_a_model_is_listed_under_its_name_and_with_a_digest_or_none(self, engine: Engine, model: Model) -> None:
        assert engine.listed_name(model.served_name).startswith("m")
        identity = engine.identity(model)
        assert identity is None or re.fullmatch("[0-9a-f]{64}", identity)

    def test_while_nothing_listens_it_is_not_up(self, engine: Engine) -> None:
        with pytest.raises(Unavailable):
            engine.is_up(Wire(), Url("http://127.0.0.1:9"))

    def test_the_reason_of_a_failure_is_a_line_of_its_log(self, engine: Engine) -> None:
        assert engine.reason_of("loading\n\nerror: out of memory\nbye\n") == "error: out of memory"
        assert engine.reason_of("loading\nready\n") is None

    def test_the_option_for_less_memory_can_be_typed(self, engine: Engine) -> None:
        launch = cli.get_command(click.Context(cli), "launch")
        assert launch is not None
        context = launch.make_context("launch", ["m", *shlex.split(engine.smaller)])
        engine.require_arguments(context.params["arguments"])
        engine.require_environment(dict(pair.split("=") for pair in context.params["environment"]))
        assert context.params["arguments"] or context.params["environment"]
