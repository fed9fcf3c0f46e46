"""Which process listens at a port: an answer from there proves an engine only if it is the engine that gave it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"
"""TCP_LISTEN in `/proc/net/tcp` (proc(5))."""


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
