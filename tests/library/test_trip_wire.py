"""Weights that would create a file when they are unpickled: importing them creates none, and nothing that could is called."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.making import safetensors, write

CHILD = """
import sys
from pathlib import Path
from modelshelf.errors import Refused
from modelshelf.library.opening import Library, migrate
from modelshelf.settings import load_settings
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from tests.making import bring_in

WIRES = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "ctypes.dlopen")
touched = []
settings = load_settings()
migrate(settings)
library = Library.open(settings)
sys.addaudithook(lambda event, _arguments: touched.append(event) if event in WIRES else None)
for folder in sys.argv[1:]:
    try:
        version, _ = bring_in(library, FolderSource(FolderUri(Path(folder))))
        print(Path(folder).name, version.state)
    except Refused as error:
        print(Path(folder).name, type(error).__name__)
print("touched", touched, "torch" in sys.modules)
"""


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_model_that_would_run_code_when_it_is_loaded_runs_none_when_it_is_imported(tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    bomb = pickle.dumps(Bomb(mark), protocol=4)
    folders = [tmp_path / name for name in ("beside", "alone", "disguised", "configured")]
    write(folders[0] / "pytorch_model.bin", bomb)
    write(folders[0] / "model.safetensors", safetensors())
    write(folders[1] / "pytorch_model.bin", bomb)
    write(folders[2] / "model.safetensors", bomb)
    write(folders[3] / "model.safetensors", safetensors())
    write(folders[3] / "tokenizer.json", bomb)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, folders)],
        env={**os.environ, "MODELSHELF_HOME": str(tmp_path / "home")},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "beside ready",
        "alone FormatRefused",
        "disguised NotWhatItSays",
        "configured NotWhatItSays",
        "touched [] False",
    ]
    assert not mark.exists()
    pickle.loads(bomb)
    assert mark.is_dir(), "the bomb is a real one"


@pytest.mark.parametrize("event", ["pickle.find_class"])
def test_the_wire_is_one_that_unpickling_touches(event: str, tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", f"import sys, pickle, os; sys.addaudithook(lambda e, a: print(e) if e == {event!r} else None);"
         f"pickle.loads(pickle.dumps(os.getcwd))"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == event
