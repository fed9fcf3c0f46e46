"""Children that die or stop at a chosen instant: at a named point, or at the Nth thing that they do to a disk or a catalog.

    with Children(home) as children:
        children.run("tests.library.verbs:delete", at="store.unlinking", signal="STOP")   # Stopped: it sleeps right there
        ...                                                                               # what others do meanwhile
        children.wake()                                                                   # its exit status
        children.run("tests.library.verbs:delete", operation=7)                           # killed before the 7th operation

One process, the first test's that needs it, has everything imported and forks for each run, so that hundreds of runs cost some
seconds. A verb is a function of the library and of texts.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import io
import json
import os
import signal as signals
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

_WRITES = (
    "write", "pwrite", "pwritev", "writev", "rename", "replace", "unlink", "remove", "link", "symlink", "mkdir", "rmdir", "chmod",
    "fchmod", "utime", "truncate", "ftruncate", "fsync", "fdatasync", "posix_fallocate", "copy_file_range", "sendfile",
)  # fmt: skip


class Children:
    """Runs verbs against one library, each in a process of its own; also its errors are seen by who reads the output."""

    def __init__(self, home: Path, host: str = "") -> None:
        self._home, self._host = home, host
        self.error = ""
        """The last child's traceback, if it ended with one."""
        self.operations = 0
        """How many operations the last child had begun."""

    def __enter__(self) -> Self:
        self._process = _forking_process()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ask({"end": True})

    def run(self, verb: str, *texts: str, at: str = "", nth: int = 1, operation: int = 0, signal: str = "KILL") -> int | str:
        """Its exit status, negative for a signal; `stopped` if it sleeps."""
        return self._ask(
            {
                "home": str(self._home), "host": self._host, "verb": verb, "texts": texts, "at": at, "nth": nth,
                "operation": operation, "signal": signal,
            }
        )  # fmt: skip

    def wake(self) -> int | str:
        """Let the one that sleeps go on: its exit status."""
        return self._ask({})

    def _ask(self, order: dict[str, Any]) -> int | str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        self.error, self.operations = answer["error"], answer["operations"]
        return answer["status"]  # type: ignore[no-any-return]


@functools.cache
def _forking_process() -> subprocess.Popen[str]:
    """Return the process that forks; it lives as long as the tests."""
    command = [sys.executable, "-m", "tests.interrupted"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end() -> None:
        process.communicate(timeout=60)

    atexit.register(end)
    return process


def main() -> None:
    import tests.library.verbs  # noqa: F401  everything that a run needs is imported before it forks

    sleeping = 0
    for line in sys.stdin:
        order = json.loads(line)
        if "end" in order:
            if sleeping and _is_there(sleeping):
                os.kill(sleeping, signals.SIGKILL)
                os.waitpid(sleeping, 0)
            sleeping = 0
            print(json.dumps({"status": 0, "error": "", "operations": 0}), flush=True)
            continue
        if order:
            notes = Path(order["home"]).parent / "child-notes"
            notes.write_text(json.dumps({"error": "", "operations": 0}))
            sleeping = os.fork()
            if sleeping == 0:
                os.environ["MODELSHELF_HOME"] = order["home"]
                _be_the_child(order, Path(order["home"]), order["host"], notes)
        else:
            os.kill(sleeping, signals.SIGCONT)
        _, status = os.waitpid(sleeping, os.WUNTRACED)
        said = json.loads(notes.read_text())
        ended = "stopped" if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        print(json.dumps({"status": ended, **said}), flush=True)


def _is_there(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def _be_the_child(order: dict[str, Any], home: Path, host: str, notes: Path) -> None:
    status = 1
    open_quietly, write_quietly = io.open, os.write
    begun = 0

    def note(error: str) -> None:
        descriptor = os.open(notes, os.O_WRONLY | os.O_TRUNC)
        write_quietly(descriptor, json.dumps({"error": error, "operations": begun}).encode())
        os.close(descriptor)

    def operate() -> None:
        nonlocal begun
        begun += 1
        if begun == order["operation"]:
            note("")
            os.kill(os.getpid(), getattr(signals, f"SIG{order['signal']}"))

    try:
        module, _, name = order["verb"].partition(":")
        verb = getattr(importlib.import_module(module), name)
        library = verb.__globals__["library_at"](home)
        _watch(operate, open_quietly)
        seen = 0

        def reached(point: str) -> None:
            nonlocal seen
            seen += point == order["at"]
            if point == order["at"] and seen == order["nth"]:
                os.kill(os.getpid(), getattr(signals, f"SIG{order['signal']}"))

        from modelshelf import crash_points

        crash_points.on_reach = reached
        verb(library, host, *order["texts"])
        status = 0
        note("")
    except BaseException:
        note(traceback.format_exc())
    finally:
        os._exit(status)


def _watch(operate: Callable[[], None], plain_open: Callable[..., Any]) -> None:
    """`operate` is called before whatever changes a disk or a catalog, and after each transaction."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import Pool

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            operate()
            return function(*args, **kwargs)

        return wrapped

    for name in _WRITES:
        setattr(os, name, before(getattr(os, name)))

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax+"):
            operate()
        return plain_open(file, mode, *args, **kwargs)

    io.open = opened  # type: ignore[assignment]
    event.listen(Engine, "commit", lambda _connection: operate())
    event.listen(Pool, "checkin", lambda _connection, _record: operate())


if __name__ == "__main__":
    main()
