"""No command ends in a traceback, whatever its home folder is like: one sentence, with what to do."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from modelshelf.cli import ending
from modelshelf.cli.main import cli
from modelshelf.settings import Settings
from tests.conftest import copy_home

ARGUMENTS: dict[str, list[str]] = {
    "import": ["ollama://tiny:1b"], "register": ["fs://weights/a"], "save": ["chat-1", "tiny"], "build": ["tiny", "/nowhere/new"],
    "category": ["tiny", "embedding"],
    "diff": ["tiny:1", "tiny:2"], "template": ["list"], "launch": ["tiny"], "switch": ["chat-1", "tiny"],
    "login": ["huggingface", "--no-secret"], "completion": ["zsh"],
}  # fmt: skip
"""What a command takes, where it is not one name for each of its arguments."""
COMMANDS = cli.list_commands(click.Context(cli))


def _file(name: str, content: bytes) -> Callable[[Path], None]:
    def write(home: Path) -> None:
        path = home / name
        path.parent.mkdir(exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.write_bytes(content)

    return write


def _folder(name: str) -> Callable[[Path], None]:
    def make(home: Path) -> None:
        (home / name).unlink(missing_ok=True)
        (home / name).mkdir(parents=True)

    return make


def _closed(name: str, mode: int = 0) -> Callable[[Path], None]:
    return lambda home: (home / name).chmod(mode)


def _home_is_a_file(home: Path) -> None:
    shutil.rmtree(home)
    home.write_text("not a folder")


ALL_REFUSE = {
    "home is a file": _home_is_a_file,
    "home not permitted": _closed("."),
    "config.toml is a folder": _folder("config.toml"),
    "config.toml is not TOML": _file("config.toml", b"\xff\xfe"),
    "config.toml unreadable": lambda home: (_file("config.toml", b"")(home), _closed("config.toml")(home)),
    "catalog_url is nonsense": _file("config.toml", b'catalog_url = "nonsense://x y"'),
    "catalog_url has no driver": _file("config.toml", b'catalog_url = "oracle://me:hunter2@h/d"'),
    "catalog is no database": _file("catalog.db", b"x" * 5000),
    "catalog is a folder": _folder("catalog.db"),
    "catalog unreadable": _closed("catalog.db"),
    "catalog is cut off": lambda home: os.truncate(home / "catalog.db", 20_000),
}
SOME_REFUSE = {
    "server.json malformed": _file("run/server.json", b"{"),
    "server.json of another shape": _file("run/server.json", b'{"url": 5, "server": {"pid": "x"}}'),
    "server.json is a folder": _folder("run/server.json"),
    "server.json unreadable": lambda home: (_file("run/server.json", b"")(home), _closed("run/server.json")(home)),
    "run is a file": _file("run", b""),
    "secrets is a file": _file("secrets", b""),
    "auth-string empty": _file("secrets/auth-string", b""),
    "auth-string is a folder": _folder("secrets/auth-string"),
    "prefect is a file": _file("prefect", b""),
    "store is a file": _file("store", b""),
    "node is a file": _file("node", b""),
    "node not permitted": _closed("node"),
    "store marker lost": lambda home: (home / "store" / "identity.json").unlink(),
    "node marker malformed": _file("node/identity.json", b"["),
    "home read-only": _closed(".", 0o500),
}


@contextmanager
def without_privileges() -> Iterator[None]:
    """As for a user who is not root: permissions of files hold, for this thread alone."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    before = data[0]
    data[0] = before & ~0b1110
    assert libc.capset(header, data) == 0
    try:
        yield
    finally:
        data[0] = before
        assert libc.capset(header, data) == 0


@pytest.fixture
def broken_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_home: Path) -> Path:
    """A home that was used; nothing may be started for it."""
    home = copy_home(made_home, tmp_path / "home").home
    monkeypatch.setenv("MODELSHELF_HOME", str(home))

    def started(*arguments: object, **_: object) -> None:
        pytest.fail(f"a process was started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", started)
    return home


def arguments(command: str) -> list[str]:
    if command in ARGUMENTS:
        return ARGUMENTS[command]
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    return ["tiny" for parameter in found.params if isinstance(parameter, click.Argument) and parameter.required]


def ended(command: str, home: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    try:
        with without_privileges():
            status = ending.run(cli, [command, *arguments(command)])
    finally:
        home.chmod(0o700)
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "Traceback" not in said
    assert "fault in modelshelf" not in said, said
    assert "hunter2" not in said
    assert status in (0, 1, 3), (status, said)
    assert (status == 0) or captured.err.count("Not done:") == 1
    return status, captured.err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("broken", ALL_REFUSE)
def test_a_home_that_cannot_be_used_is_one_sentence(
    broken_home: Path, capsys: pytest.CaptureFixture[str], command: str, broken: str
) -> None:
    ALL_REFUSE[broken](broken_home)
    status, said = ended(command, broken_home, capsys)
    needs_no_catalog = command == "completion" or (command in ("down", "runs", "follow", "cancel", "retry") and "cat" in broken)
    assert needs_no_catalog or status != 0, said


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("broken", SOME_REFUSE)
def test_a_broken_file_of_the_home_is_one_sentence_to_whom_it_matters(
    broken_home: Path, capsys: pytest.CaptureFixture[str], command: str, broken: str
) -> None:
    SOME_REFUSE[broken](broken_home)
    ended(command, broken_home, capsys)


def test_what_nobody_foresaw_is_a_fault_with_its_trace_in_the_home(
    broken_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unforeseen(**_: object) -> None:
        raise AssertionError("nobody thought of this")

    command = click.Command("list", callback=unforeseen)
    assert ending.run(command, []) == 70
    said = capsys.readouterr().err
    (trace,) = (broken_home / "run").glob("fault-*.txt")
    assert "fault in modelshelf (AssertionError)" in said
    assert str(trace) in said
    assert "Traceback" not in said
    assert "nobody thought of this" in trace.read_text()
    assert trace.stat().st_mode & 0o777 == 0o600
    _home_is_a_file(broken_home)
    monkeypatch.setattr("tempfile.tempdir", str(broken_home.parent))
    assert ending.run(command, []) == 70
    assert len(list(broken_home.parent.glob("fault-*.txt"))) == 1


PROGRAM = [sys.executable, "-c", "from modelshelf.cli import main; main()"]
SHOWING = ["list", "list --json", "status", "nodes", "completion bash", "--help", "disk"]


def typed(
    command: str, home: Settings, *, output: int, errors: int = subprocess.PIPE, unbuffered: bool = False
) -> tuple[int, str]:
    """Run the command as a process; its exit status and what it printed on standard error."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= {"MODELSHELF_HOME": str(home.home)} | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {})
    done = subprocess.run(
        [*PROGRAM, *command.split()], env=environment, stdout=output, stderr=errors, check=False, timeout=60, text=True
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("command", SHOWING)
def test_an_output_that_takes_nothing_is_one_sentence(home: Settings, command: str, unbuffered: bool) -> None:
    with Path("/dev/full").open("w") as full:
        status, said = typed(command, home, output=full.fileno(), unbuffered=unbuffered)
    assert "The output could not be written: No space left on device" in said
    assert (status, said.count("\n")) == (1, 1)


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("command", SHOWING)
def test_a_closed_pipe_is_silence_and_the_status_of_sigpipe(home: Settings, command: str, unbuffered: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert typed(command, home, output=writer, unbuffered=unbuffered) == (141, "")
    os.close(writer)


def test_no_output_and_no_error_output_at_all_is_no_traceback(home: Settings) -> None:
    with Path("/dev/full").open("w") as full:
        for command, status in (("show x", 1), ("show x --json", 1), ("show", 2), ("list", 1)):
            assert typed(command, home, output=full.fileno(), errors=full.fileno())[0] == status
    closed = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *PROGRAM, "list"]
    assert subprocess.run(closed, env={**os.environ, "MODELSHELF_HOME": str(home.home)}, check=False, timeout=60).returncode == 0
