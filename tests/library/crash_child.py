"""One run of the whole lifecycle in a process that a test kills: `python -m tests.library.crash_child HOME HOST POINT NTH`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from modelshelf import crash_points
from modelshelf.library import deleting, running
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName, ServedName
from modelshelf.settings import Settings
from modelshelf.sources.ollama import OllamaSource
from modelshelf.sources.uri import OllamaName, OllamaUri
from tests.making import SMALL, P, bring_in, launch_all


def main(home: Path, host: str, point: str, nth: int) -> None:
    settings = Settings(home, f"sqlite:///{home / 'catalog.db'}", llamacpp_server=str(home.parent / "llama-server"))
    library = Library.open(settings)
    seen = 0

    def reached(name: str) -> None:
        nonlocal seen
        seen += name == point
        if name == point and seen == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    crash_points.on_reach = reached
    source = OllamaSource(OllamaUri(OllamaName.parse(f"{host}/library/tiny:1b")), plain_http=True, limits=SMALL)
    version, _ = bring_in(library, source)
    name = InstanceName("chat-1")
    launch_all(library, name, ((version, ServedName("tiny")),))
    if point.startswith(("delete.", "store.")):
        running.delete_instance(library, P, name, "child")
        deleting.delete_version(library, P, version.ref, who="child")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
