"""A small file is whole or absent, whatever ends the process that writes it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from modelshelf import crash_points
from modelshelf.cli import server_secrets
from modelshelf.durable import write_whole
from modelshelf.errors import BadSecret
from modelshelf.settings import Settings, default_catalog

POINTS = [point for point in crash_points.POINTS if point.startswith("file.")]
_KILLED = """
import os, signal, sys
from pathlib import Path
from modelshelf import crash_points
from modelshelf.cli import server_secrets
from modelshelf.durable import write_whole
from modelshelf.settings import Settings, default_catalog

home, point = Path(sys.argv[1]), sys.argv[2]
def reached(name):
    if name == point:
        os.kill(os.getpid(), signal.SIGKILL)
crash_points.on_reach = reached
{}
"""
_SECRET = "server_secrets.auth_string(Settings(home, default_catalog(home)))"
_REPLACE = "write_whole(home / 'state', 'new' * 10_000)"


def killed(script: str, home: Path, point: str) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED.format(script), str(home), point], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", POINTS)
def test_killed_while_a_secret_is_made_the_next_start_has_a_whole_one(tmp_path: Path, point: str) -> None:
    killed(_SECRET, tmp_path, point)
    settings = Settings(tmp_path, default_catalog(tmp_path))
    file = settings.secrets / "auth-string"
    left = file.read_text() if file.exists() else None
    assert left is None or left.startswith("modelshelf:")
    secret = server_secrets.auth_string(settings)
    assert len(secret) > 30
    assert left in (None, secret)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("point", POINTS)
def test_killed_while_a_file_is_replaced_it_is_the_old_or_the_new(tmp_path: Path, point: str) -> None:
    (tmp_path / "state").write_text("old")
    killed(_REPLACE, tmp_path, point)
    assert (tmp_path / "state").read_text() in ("old", "new" * 10_000)


def test_out_of_space_the_file_is_as_it_was_and_no_temporary_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("old")
    limited = (
        "import resource; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", _KILLED.format(limited + _REPLACE), str(tmp_path), "none"],
        check=False,
        timeout=60,
        capture_output=True,
    )
    assert b"File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert (tmp_path / "state").read_text() == "old"


def test_two_starts_at_once_make_one_secret(tmp_path: Path) -> None:
    settings = Settings(tmp_path, default_catalog(tmp_path))
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(server_secrets.block_key(settings))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("auth-string", b""), ("auth-string", b"\n"), ("auth-string", b"nouser"), ("auth-string", b"a:b\nc"),
        ("auth-string", b"\xff\xfe"), ("auth-string", b"\0" * 40), ("block-key", b""), ("block-key", b"short"), ("block-key", b"=" * 44),
    ],
)  # fmt: skip
def test_an_empty_or_damaged_secret_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    settings = Settings(tmp_path, default_catalog(tmp_path))
    settings.secrets.mkdir()
    (settings.secrets / name).write_bytes(content)
    make = {"auth-string": server_secrets.auth_string, "block-key": server_secrets.block_key}[name]
    with pytest.raises(BadSecret, match=f"secrets/{name} is not usable.*(restore|Restore)"):
        make(settings)
    assert (settings.secrets / name).read_bytes() == content


def test_what_a_killed_writer_left_is_removed_later(tmp_path: Path) -> None:
    import os

    left = tmp_path / ".state.0123.new"
    left.write_text("half")
    os.utime(left, (1, 1))
    write_whole(tmp_path / "state", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
