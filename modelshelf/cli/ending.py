"""How a command ends: its exit status, and what it prints if it was refused, interrupted or cut off. Never a traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import click

from modelshelf import __version__
from modelshelf.cli.errors import FaultInModelshelf, FileUnusable, OutputFailed
from modelshelf.durable import write_whole
from modelshelf.errors import BadSetting, ModelshelfError, Unavailable
from modelshelf.settings import load_settings, private_folder
from modelshelf.words import plain_lines

EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_FAULT, EXIT_INTERRUPTED, EXIT_PIPE_CLOSED = 1, 3, 70, 130, 141
"""70 is EX_SOFTWARE of sysexits.h; 130 and 141 are what a shell reports for SIGINT and SIGPIPE."""
_TRACES_KEPT = 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_ABOUT_A_FILE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.EIO,
    errno.ESTALE, errno.ENOTCONN, *_NO_ROOM,
}  # fmt: skip
"""What the state of a disk or of a home folder explains; anything else that the system refuses is a fault of ours."""


def run(command: click.Command, arguments: Sequence[str]) -> int:
    """Run the command and return its exit status. What it could not do is on standard error, or with `--json` on its output."""
    try:
        with _watched_output():
            result = command.main(args=list(arguments), prog_name="modelshelf", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except _OutputClosedError:
        _discard(sys.stdout)
        return EXIT_PIPE_CLOSED
    except OutputFailed as error:
        _discard(sys.stdout)
        _print_error(str(error))
        return EXIT_REFUSED
    except ModelshelfError as error:
        return _fail(error, arguments)
    except click.ClickException as error:
        if not _wants_json(arguments):
            try:
                error.show()
            except OSError:
                _discard(sys.stderr)
            return error.exit_code
        return _report(type(error).__name__, error.format_message(), error.exit_code, arguments)
    except (click.Abort, KeyboardInterrupt):
        return _report("Interrupted", "Interrupted.", EXIT_INTERRUPTED, arguments)
    except OSError as error:
        return _fail(_file_unusable(error) or _fault(error), arguments)
    except Exception as error:  # noqa: BLE001 - the one place for what nobody foresaw
        return _fail(_fault(error), arguments)


class _OutputClosedError(Exception):
    """Whoever read the output has gone: nobody is left to be told."""


class _Output(io.TextIOWrapper):
    """Standard output, whose own failure is told from every other one."""

    def write(self, text: str) -> int:
        with _output_failing():
            return super().write(text)

    def flush(self) -> None:
        with _output_failing():
            super().flush()


@contextlib.contextmanager
def _watched_output() -> Iterator[None]:
    before = sys.stdout
    if not isinstance(getattr(before, "buffer", None), io.IOBase):  # closed, or somebody else's
        yield
        return
    errors = "backslashreplace" if before.errors == "strict" else before.errors
    ours = _Output(before.buffer, before.encoding, errors, line_buffering=bool(before.line_buffering))
    sys.stdout = ours
    try:
        yield
        ours.flush()
    finally:
        sys.stdout = before
        with contextlib.suppress(OutputFailed, _OutputClosedError):
            ours.detach()  # else closing ours would close the other one's


@contextlib.contextmanager
def _output_failing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ESHUTDOWN):
            raise _OutputClosedError from error
        raise OutputFailed(reason=error.strerror) from error


def _discard(stream: TextIO | None) -> None:
    """What is left in its buffer goes nowhere: the interpreter would try to write it again at its end."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _fail(error: ModelshelfError, arguments: Sequence[str]) -> int:
    if isinstance(error, FaultInModelshelf):
        status = EXIT_FAULT
    else:
        status = EXIT_UNAVAILABLE if isinstance(error, Unavailable) else EXIT_REFUSED
    return _report(type(error).__name__, str(error), status, arguments)


def _report(kind: str, message: str, status: int, arguments: Sequence[str]) -> int:
    """Print why it failed; with `--json` as an object on standard output, for whoever reads it there."""
    if _wants_json(arguments):
        try:
            click.echo(json.dumps({"error": kind, "message": message, "exit_status": status}, indent=2))
        except OSError:
            _discard(sys.stdout)
    else:
        _print_error(message)
    return status


def _print_error(message: str) -> None:
    from modelshelf.cli.tables import styled

    try:
        click.echo(f"{styled('Not done:', fg='red', bold=True)} {plain_lines(message)}", err=True)
    except OSError:
        _discard(sys.stderr)


def _wants_json(arguments: Sequence[str]) -> bool:
    return "--json" in arguments[: arguments.index("--") if "--" in arguments else None]


def _file_unusable(error: OSError) -> FileUnusable | None:
    """What the system's refusal means for a file or folder of ours; None if no state of a disk explains it."""
    if error.errno not in _ABOUT_A_FILE or (error.filename is None and error.errno not in _NO_ROOM):
        return None
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes | os.PathLike) else _home()
    reason, advice = error.strerror or str(error), "Repair it, or name another folder with MODELSHELF_HOME."
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            reason += _free_beside(path)
            advice = "Make room there, then run it again."
        case errno.EROFS:
            advice = "Mount it writable, or name another folder with MODELSHELF_HOME."
        case errno.EACCES | errno.EPERM:
            reason += _owner_beside(path)
            advice = "Run it as the owner, give this user the rights, or name another folder with MODELSHELF_HOME."
        case errno.ENOTDIR | errno.EEXIST:
            reason += ": a file is where a folder belongs"
            advice = "Move the file away, or name another folder with MODELSHELF_HOME."
        case errno.EISDIR:
            reason += ": a folder is where a file belongs"
            advice = "Move the folder away, then run it again."
    return FileUnusable(path=path, reason=reason, advice=advice)


def _existing(path: Path) -> Path | None:
    """The path, or the closest folder above it that can be looked at."""
    for candidate in (path, *path.parents):
        with contextlib.suppress(OSError):
            candidate.stat()
            return candidate
    return None


def _free_beside(path: Path) -> str:
    found = _existing(path)
    disk = os.statvfs(found) if found is not None else None
    return f"; {disk.f_bavail * disk.f_frsize:,} bytes are free there" if disk is not None else ""


def _owner_beside(path: Path) -> str:
    found = _existing(path)
    owner = found.stat().st_uid if found is not None else os.geteuid()
    return f" ({found} belongs to user {owner}, and this is user {os.geteuid()})" if owner != os.geteuid() else ""


def _home() -> Path:
    try:
        return load_settings().home
    except (BadSetting, FileUnusable, OSError):
        return Path(tempfile.gettempdir())


def _fault(error: Exception) -> FaultInModelshelf:
    return FaultInModelshelf(kind=type(error).__name__, trace=_write_trace(error))


def _write_trace(error: Exception) -> str:
    """Write the traceback where whoever reports the fault finds it; the file's path, or why there is none."""
    head = f"modelshelf {__version__}, Python {platform.python_version()}, {sys.platform}, {' '.join(sys.argv[1:2])}\n\n"
    text = head + "".join(traceback.format_exception(error))
    name = f"fault-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (_run_folder(), Path(tempfile.gettempdir())):
        if folder is None:
            continue
        try:
            write_whole(folder / name, text)
        except OSError:
            continue
        for old in sorted(folder.glob("fault-*.txt"))[:-_TRACES_KEPT]:
            with contextlib.suppress(OSError):
                old.unlink()
        return str(folder / name)
    return "nowhere: neither the home nor the temporary folder takes a file"


def _run_folder() -> Path | None:
    """The home's folder for what runs; None if there is no home or it cannot be used."""
    try:
        settings = load_settings()
        return private_folder(settings.run) if settings.home.is_dir() else None
    except (ModelshelfError, OSError):
        return None
