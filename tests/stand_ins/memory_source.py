"""A publisher whose files are bytes in memory: the contract of a source and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from modelshelf.digest import Digest
from modelshelf.errors import NotFound
from modelshelf.formats.kinds import Format, Role
from modelshelf.names import FilePath, ModelName, Tag
from modelshelf.sources.contract import Listing, Pin, SourceFile
from modelshelf.sources.fetch import Wanted
from modelshelf.stop import StopToken
from modelshelf.transfer.contract import Destination, Downloads
from modelshelf.wire import Login, Wire

_STEP = 64 * 1024


class MemoryPublisher:
    """The files that are published now, by path: change them as a publisher would."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files


class MemorySource:
    """See `modelshelf.sources.contract.Source`: one model of GGUF or safetensors files."""

    def __init__(self, publisher: MemoryPublisher, name: str = "tiny", *, format: Format = Format.GGUF) -> None:
        self.model = ModelName(name)
        self.uri = f"file:///memory/{name}"
        self.wire = Wire()
        self.login: Login | None = None
        self._publisher, self._format = publisher, format

    def pin(self, stop: StopToken) -> Pin:
        seen = "\n".join(f"{path} {Digest.of(content)}" for path, content in sorted(self._publisher.files.items()))
        return Pin(Tag("main"), Digest.of(seen.encode()).hex)

    def list_files(self, pin: Pin, stop: StopToken) -> Listing:
        if self.pin(stop) != pin:
            raise NotFound(host="memory", what=f"{self.model} as it was when this began", status="changed")
        return Listing(self._format, tuple(self._file(FilePath(path)) for path in sorted(self._publisher.files)))

    def _file(self, path: FilePath) -> SourceFile:
        role = Role.WEIGHT if path.suffix in (".gguf", ".safetensors") else Role.CONFIG
        content = self._publisher.files[str(path)]
        body = MemoryBody(str(path), "memory", len(content), f"memory {self.model}/{path}", self._publisher)
        return SourceFile(path, role, Wanted(path, body, Digest.of(content)))


@dataclass(frozen=True)
class MemoryBody:
    """See `modelshelf.transfer.contract.Body`: what the publisher has when it is asked for."""

    what: str
    whose: str
    size: int
    address: str
    publisher: MemoryPublisher

    def deliver(self, into: Destination, downloads: Downloads, *, proven: bool) -> None:
        content = self.publisher.files.get(self.what)
        if content is None:
            raise NotFound(host=self.whose, what=self.what, status="gone")
        for span in into.missing(_STEP):
            downloads.stop.check()
            into.write_at(span.start, content[span.start : span.end].ljust(len(span), b"\0"))
            into.finish(span)
            downloads.on_bytes(len(span))
