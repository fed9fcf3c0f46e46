"""A model that someone pulled or made inside a running Ollama instance: its blobs are read where they lie."""

from __future__ import annotations

from typing import BinaryIO, Protocol

from modelshelf.digest import Digest
from modelshelf.errors import BadManifest, NotFound, NothingToImport
from modelshelf.formats.kinds import Format, Role
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath, ModelName, Tag, tag_for
from modelshelf.sources.contract import Listing, Pin, SourceFile
from modelshelf.sources.fetch import Wanted
from modelshelf.sources.ollama import (
    MANIFEST_PATH,
    Layer,
    blob_path,
    has_model,
    layers_of,
    named_for_inspection,
    role_of_layer,
    why_no_model,
    why_no_weights,
)
from modelshelf.sources.uri import InstanceUri
from modelshelf.stop import StopToken
from modelshelf.transfer.contract import Body
from modelshelf.wire import Login, Wire


class Kept(Protocol):
    """The files of an instance's models folder. Paths are below it."""

    def open(self, path: FilePath) -> BinaryIO:
        """Return the file for reading. Raises OSError."""

    def body(self, path: FilePath, *, what: str, whose: str) -> Body | None:
        """Return the file as it is now; None if there is none."""


class InstanceSource:
    """`kept` is the instance's models folder. The instance is not asked and does not stop.

    What it serves is immutable by digest: a manifest that is replaced meanwhile makes the pin a thing of the past, and
    its blobs, which Ollama does not prune here, stay.
    """

    def __init__(self, uri: InstanceUri, kept: Kept, *, version: Tag | None = None, limits: Limits = DEFAULT) -> None:
        self.model: ModelName = uri.model
        self.uri = str(uri)
        self.wire = Wire(limits=limits)
        self.login: Login | None = None
        self._asked, self._kept, self._limits = uri, kept, limits
        self._version = version

    def pin(self, stop: StopToken) -> Pin:
        return Pin(self._version or tag_for(str(self._asked.name.tag)), Digest.of(self._manifest()).hex)

    def list_files(self, pin: Pin, stop: StopToken) -> Listing:
        content = self._manifest()
        if Digest.of(content).hex != pin.resolved:
            raise NotFound(host=self._asked.instance, what=f"{self._asked.name} as it was when this began", status="changed")
        layers = layers_of(content, what=str(self._asked.name), limits=self._limits)
        if not has_model(layers):
            raise NothingToImport(what=self._asked.name, detail=why_no_model(layers) or self._why_no_weights(layers[0]))
        files = []
        for layer in layers:
            body = self._kept.body(blob_path(layer.digest), what=f"layer {layer.digest.short}", whose="the instance")
            if body is None or body.size != layer.size:
                raise BadManifest(what=self._asked.name, reason=f"its blob {layer.digest.short} is not in the instance")
            wanted = Wanted(named_for_inspection(layer), body, layer.digest)
            files.append(SourceFile(blob_path(layer.digest), role_of_layer(layer), wanted))
        return Listing(Format.OLLAMA, tuple(files), inline=((MANIFEST_PATH, Role.CONFIG, content),))

    def _why_no_weights(self, config: Layer) -> str:
        name = self._asked.name
        try:
            with self._kept.open(blob_path(config.digest)) as file:
                content = file.read(self._limits.manifest_bytes)
        except OSError as error:
            raise BadManifest(what=name, reason=f"its blob {config.digest.short} is not in the instance") from error
        return why_no_weights(content, what=f"the config of {name}", limits=self._limits)

    def _manifest(self) -> bytes:
        name = self._asked.name
        try:
            with self._kept.open(FilePath(f"manifests/{name.host}/{name.repository}/{name.tag}")) as file:
                content = file.read(self._limits.manifest_bytes + 1)
        except OSError as error:
            raise NotFound(host=f"instance {self._asked.instance}", what=name, status=error.strerror) from error
        if len(content) > self._limits.manifest_bytes:
            raise BadManifest(what=name, reason=f"it is longer than {self._limits.manifest_bytes} bytes")
        return content
