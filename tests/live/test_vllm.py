"""What we ask of vLLM, beside the source of the release that the adapter is written for: it is not run here."""

from __future__ import annotations

import ast
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

from modelshelf.digest import Digest
from modelshelf.engines.contract import Command, Model, Surroundings
from modelshelf.engines.vllm import Vllm
from modelshelf.formats.image import PackedFile
from modelshelf.formats.kinds import Format, Role
from modelshelf.names import FilePath, ServedName
from tests.conftest import missing

pytestmark = pytest.mark.live
RELEASE = "vllm-0.11.0"
SOURCE = Path(__file__).parents[2] / ".parts" / f"{RELEASE}.tar.gz"


@pytest.fixture(scope="module")
def release() -> Mapping[str, ast.Module]:
    """The modules of the release that define the command's arguments and environment."""
    if not SOURCE.exists():
        missing(f"the source of {RELEASE}")
    wanted = ("entrypoints/openai/cli_args.py", "engine/arg_utils.py", "envs.py", "config/model.py")
    with tarfile.open(SOURCE) as archive:
        read = {name: archive.extractfile(f"{RELEASE}/vllm/{name}") for name in wanted}
        return {name: ast.parse(file.read()) for name, file in read.items() if file is not None}


@pytest.fixture
def command() -> Command:
    files = tuple(PackedFile(FilePath(name), Role.WEIGHT, Digest.of(b""), 0) for name in ("config.json", "m.safetensors"))
    model = Model(ServedName("m"), "embedding", Format.SAFETENSORS, files)
    return Vllm().command([model], Surroundings((PurePosixPath("/m"),), PurePosixPath("/own"), "127.0.0.1", 8000), [])


def test_every_argument_is_one_that_the_release_takes(command: Command, release: Mapping[str, ast.Module]) -> None:
    server, engine = release["entrypoints/openai/cli_args.py"], release["engine/arg_utils.py"]
    (frontend,) = [node for node in ast.walk(server) if isinstance(node, ast.ClassDef) and node.name == "FrontendArgs"]
    fields = [node.target.id for node in frontend.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    texts = {node.value for tree in (server, engine) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    taken = {f"--{field.replace('_', '-')}" for field in fields} | {text for text in texts if isinstance(text, str)}
    asked = [word for word in command.arguments if word.startswith("--")]
    assert asked == ["--served-model-name", "--host", "--port", "--runner"]
    assert set(asked) <= taken
    assert "model_tag" in texts, "`vllm serve MODEL`: the model is an argument of its own"


def test_pooling_is_a_runner_of_the_release(command: Command, release: Mapping[str, ast.Module]) -> None:
    (options,) = [
        node.value
        for node in ast.walk(release["config/model.py"])
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "RunnerOption"
    ]
    assert command.arguments[command.arguments.index("--runner") + 1] in ast.literal_eval(
        ast.unparse(options).removeprefix("Literal")
    )


def test_every_setting_in_its_environment_is_one_that_the_release_reads(
    command: Command, release: Mapping[str, ast.Module]
) -> None:
    read = {node.value for node in ast.walk(release["envs.py"]) if isinstance(node, ast.Constant)}
    named = {name for name in command.environment if name.startswith("VLLM_")}
    assert named == {"VLLM_CACHE_ROOT", "VLLM_NO_USAGE_STATS"}
    assert named <= read
