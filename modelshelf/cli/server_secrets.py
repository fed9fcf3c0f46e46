"""The secrets between us and a Prefect server: made once, written whole, and refused by name if they were damaged."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable
from pathlib import Path

from modelshelf.durable import alone_in, write_whole
from modelshelf.errors import BadSecret
from modelshelf.settings import Settings, private_folder

_MOST_BYTES = 4096
_ADVICE = {
    "auth-string": "Run `modelshelf down`, restore the file from a backup or remove it, then run `modelshelf up`: that makes"
    " a new one.",
    "block-key": "Restore the file from a backup: the stored credentials are encrypted with it. Without a backup, remove the file"
    " and store each credential again with `modelshelf login`.",
}


def auth_string(settings: Settings) -> str:
    """What our server asks of its users: `modelshelf:<random>`, made once. Raises BadSecret."""
    return _made_once(settings.secrets / "auth-string", lambda: f"modelshelf:{secrets.token_urlsafe(24)}", _check_auth_string)


def block_key(settings: Settings) -> str:
    """The key that encrypts Prefect's blocks, made once. Raises BadSecret."""
    return _made_once(
        settings.secrets / "block-key", lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(), _check_key
    )


def keep_remote_auth_string(settings: Settings, secret: str) -> None:
    """Keep what a remote server asks of its users; empty where it asks for nothing."""
    write_whole(private_folder(settings.secrets) / "remote-auth-string", secret)


def remote_auth_string(settings: Settings) -> str:
    """What the remote server asks of its users. Raises BadSecret if the file is missing or not readable as text."""
    file = settings.secrets / "remote-auth-string"
    found = _read(file, "Run `modelshelf up --server URL` again: that writes the file from PREFECT_API_AUTH_STRING.")
    if found is None:
        raise BadSecret(path=file, reason="it is missing", advice="Run `modelshelf up --server URL` again: that writes the file.")
    return found


def _made_once(file: Path, make: Callable[[], str], check: Callable[[Path, str], None]) -> str:
    private_folder(file.parent)
    with alone_in(file.parent):
        found = _read(file, _ADVICE[file.name])
        if found is None:
            found = make()
            write_whole(file, found)
    check(file, found)
    return found


def _read(file: Path, advice: str) -> str | None:
    """The secret; None if there is no file."""
    try:
        with file.open("rb") as opened:
            found = opened.read(_MOST_BYTES + 1).decode("ascii").strip()
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise BadSecret(path=file, reason="it is a folder", advice=advice) from error
    except UnicodeDecodeError as error:
        raise BadSecret(path=file, reason="it is not ASCII text", advice=advice) from error
    if len(found) > _MOST_BYTES or not found.isprintable():
        raise BadSecret(path=file, reason="it is not a single short line", advice=advice)
    return found


def _check_auth_string(file: Path, found: str) -> None:
    user, _, password = found.partition(":")
    if not found:
        raise BadSecret(path=file, reason="it is empty", advice=_ADVICE[file.name])
    if not user or not password:
        raise BadSecret(path=file, reason="expected `user:password`", advice=_ADVICE[file.name])


def _check_key(file: Path, found: str) -> None:
    if not found:
        raise BadSecret(path=file, reason="it is empty", advice=_ADVICE[file.name])
    try:
        size = len(base64.b64decode(found, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size != 32:
        raise BadSecret(path=file, reason="expected 32 bytes in base64", advice=_ADVICE[file.name])
