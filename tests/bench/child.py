"""One import in a process of its own: `python -m tests.bench.child HOME NAME [http]`; its figures as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from modelshelf.library.opening import Library, migrate
from modelshelf.limits import DEFAULT
from modelshelf.settings import Settings
from modelshelf.sources.ollama import OllamaSource
from modelshelf.sources.uri import OllamaName, OllamaUri
from tests.making import bring_in


def main(home: Path, name: str, *, plain_http: bool) -> None:
    settings = Settings(home, f"sqlite:///{home / 'catalog.db'}")
    migrate(settings)
    library = Library.open(settings)
    before = _written()
    began = time.monotonic()
    _, plan = bring_in(library, OllamaSource(OllamaUri(OllamaName.parse(name)), plain_http=plain_http), limits=DEFAULT)
    seconds = time.monotonic() - began
    print(json.dumps({"seconds": seconds, "rss": _peak_memory(), "written": _written() - before, "fetched": plan.to_fetch}))


def _peak_memory() -> int:
    """Bytes that this program had in memory at most (proc(5), `VmHWM`); `ru_maxrss` counts the process that started it, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def _written() -> int:
    """Bytes that this process has caused to be written to the disk (proc(5), `write_bytes`)."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["write_bytes"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], plain_http=sys.argv[3:] == ["http"])
