"""The ports of this machine: which are free, and which process listens at one.

An answer from a port proves an engine only if it is the engine that listens there.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from modelshelf.errors import BadSetting, PortTaken

_PROC = Path("/proc")
_LISTENING = "0A"
"""TCP_LISTEN in `/proc/net/tcp` (proc(5))."""


def choose(bind: str, wanted: int, before: int | None) -> int:
    """Return `wanted`, else the port `before` if it is free, else a free one. Raises PortTaken, BadSetting."""
    if wanted:
        require_free(bind, wanted)
        return wanted
    if before is not None:
        with suppress(PortTaken):
            require_free(bind, before)
            return before
    with socket.socket(_family(bind), socket.SOCK_STREAM) as probe:
        _bind(probe, bind, 0)
        return int(probe.getsockname()[1])


def require_free(bind: str, port: int) -> None:
    """Raise PortTaken if something listens at that port, BadSetting if this machine has no such address."""
    with socket.socket(_family(bind), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, bind, port)


def listens(pids: Iterable[int], port: int) -> bool:
    """Return whether one of the processes listens at the TCP port; True if that cannot be seen."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    for pid in pids:
        try:
            descriptors = list((_PROC / str(pid) / "fd").iterdir())
        except FileNotFoundError:  # it has ended
            continue
        except PermissionError:
            return True
        for descriptor in descriptors:
            with suppress(OSError):  # closed meanwhile
                if str(descriptor.readlink()) in wanted:
                    return True
    return False


def _inodes(port: int) -> Iterator[str]:
    """The inodes of the sockets that listen at the port, at any address of this machine."""
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):  # a machine without IPv6
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _family(bind: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in bind else socket.AF_INET


def _bind(probe: socket.socket, bind: str, port: int) -> None:
    try:
        probe.bind((bind, port))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortTaken(port=port, bind=bind, by=f" ({error.strerror})") from error
        reason = f"this machine cannot listen at {bind} ({error.strerror})"
        raise BadSetting(where="the address (`--bind`)", reason=reason) from error
