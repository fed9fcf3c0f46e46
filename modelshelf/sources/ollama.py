"""Models in a registry that speaks as Ollama's does. Source: OCI distribution protocol v2; `ollama pull` as observed.

The manifest is kept byte for byte: its sha256 is the id that `ollama list` shows, and re-serialising would change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelshelf.digest import Digest
from modelshelf.errors import BadManifest, LimitExceeded, ModelshelfError, NotFound, NothingToImport, SpeaksHttp, Unreachable
from modelshelf.formats.kinds import Format, PartKind, Role
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath, ModelName, tag_for
from modelshelf.sources.bearer import RegistryLogin
from modelshelf.sources.contract import Listing, Pin, SourceFile
from modelshelf.sources.fetch import Wanted
from modelshelf.sources.uri import OllamaName, OllamaUri
from modelshelf.stop import StopToken
from modelshelf.strict_json import load_json
from modelshelf.transfer import Remote
from modelshelf.wire import Answer, Url, Wire

MANIFEST_PATH = FilePath("manifest.json")
"""Where the registry's manifest lies in the model's files."""

_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PARTS = {
    "application/vnd.ollama.image.model": PartKind.MODEL,
    "application/vnd.ollama.image.projector": PartKind.PROJECTOR,
    "application/vnd.ollama.image.adapter": PartKind.ADAPTER,
    "application/vnd.ollama.image.draft": PartKind.DRAFT,
}
_LICENSE = "application/vnd.ollama.image.license"


class OllamaSource:
    """One model of one registry, at `https` unless its block says otherwise."""

    def __init__(
        self,
        uri: OllamaUri,
        *,
        plain_http: bool = False,
        user: str = "",
        secret: str = "",
        trusted_hosts: frozenset[str] = frozenset(),
        limits: Limits = DEFAULT,
    ) -> None:
        self.name: OllamaName = uri.name
        self.model: ModelName = uri.model
        self.uri = str(uri)
        self.wire = Wire(trusted_hosts=trusted_hosts, limits=limits)
        self._limits = limits
        self._base = Url(f"{'http' if plain_http else 'https'}://{self.name.host}/v2/{self.name.repository}")
        self.login = RegistryLogin(self.wire, self._base, user=user, secret=secret, trusted_hosts=trusted_hosts, limits=limits)

    def pin(self, stop: StopToken) -> Pin:
        return Pin(tag_for(str(self.name.tag)), Digest.of(self._manifest(str(self.name.tag), stop)).hex)

    def list_files(self, pin: Pin, stop: StopToken) -> Listing:
        """Asked by digest where the registry can, by tag where it cannot (Ollama's own cannot), and compared."""
        wanted = Digest(pin.resolved)
        try:
            content = self._manifest(str(wanted), stop)
        except NotFound:
            content = self._manifest(str(self.name.tag), stop)
        if Digest.of(content) != wanted:
            raise NotFound(host=self._base.place, what=f"the manifest {wanted} of {self.name} any more", status=200)
        files = tuple(self._file(layer) for layer in parse_manifest(content, what=str(self.name), limits=self._limits))
        return Listing(Format.OLLAMA, files, inline=((MANIFEST_PATH, Role.CONFIG, content),))

    def _manifest(self, reference: str, stop: StopToken) -> bytes:
        url = Url(f"{self._base.text}/manifests/{reference}")
        what = f"{self.name}"
        answer = self._get(url, stop).expect(200, what=what, login=f"ollama {self.name.host}")
        if not answer.body:
            raise BadManifest(what=what, reason="it is empty")
        return answer.body

    def _get(self, url: Url, stop: StopToken) -> Answer:
        accept = {"Accept": f"{_DOCKER_MANIFEST}, {_OCI_MANIFEST}"}
        try:
            return self.wire.ask("GET", url, login=self.login, headers=accept, at_most=self._limits.manifest_bytes, stop=stop)
        except Unreachable as error:
            if url.scheme == "https" and self._speaks_http(stop):
                raise SpeaksHttp(host=self.name.host) from error
            raise

    def _speaks_http(self, stop: StopToken) -> bool:
        """Whether a registry answers here without TLS. Shown nothing, and asked for nothing but that it is one."""
        url = Url(f"http://{self.name.host}/v2/")
        try:
            return self.wire.request("GET", url, follow=False, seconds=self._limits.probe_seconds, stop=stop).status in (200, 401)
        except ModelshelfError:
            return False

    def _file(self, layer: Layer) -> SourceFile:
        # `urls` of foreign layers are ignored: bytes come from the registry that was named
        remote = Remote(
            what=f"layer {layer.digest.short} ({layer.media_type.rpartition('.')[2]}) of {self.name}",
            whose=self._base.place,
            url=Url(f"{self._base.text}/blobs/{layer.digest}"),
            size=layer.size,
            login=f"ollama {self.name.host}",
        )
        return SourceFile(
            blob_path(layer.digest), role_of_layer(layer), Wanted(named_for_inspection(layer), remote, layer.digest)
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """One blob of a manifest, its config included. `size` in bytes."""

    digest: Digest
    size: int
    media_type: str


def blob_path(digest: Digest) -> FilePath:
    """Where Ollama keeps a blob, below its models folder."""
    return FilePath(f"blobs/sha256-{digest.hex}")


def role_of_layer(layer: Layer) -> Role:
    if layer.media_type in _PARTS:
        return Role.WEIGHT
    return Role.DOC if layer.media_type == _LICENSE else Role.CONFIG


def parts_of(manifest: bytes, *, what: str) -> dict[FilePath, PartKind]:
    """Return what the manifest calls its weights, by the paths of their blobs."""
    layers = parse_manifest(manifest, what=what)
    return {blob_path(layer.digest): _PARTS[layer.media_type] for layer in layers if layer.media_type in _PARTS}


def named_for_inspection(layer: Layer) -> FilePath:
    """Blobs have no extension; weights are GGUF, and looked at as such."""
    return FilePath(f"{blob_path(layer.digest)}.gguf") if role_of_layer(layer) is Role.WEIGHT else blob_path(layer.digest)


def parse_manifest(content: bytes, *, what: str, limits: Limits = DEFAULT) -> tuple[Layer, ...]:
    """The blobs that a manifest names, each once, the config first. Raises BadManifest, LimitExceeded, NothingToImport."""
    match load_json(content, file=f"the manifest of {what}", limits=limits):
        case {"manifests": _}:
            raise BadManifest(what=what, reason="it is an index of other manifests, no model")
        case {"schemaVersion": 2, "config": dict(config), "layers": list(listed)}:
            pass
        case _:
            raise BadManifest(what=what, reason="it has no config and layers of schema version 2")
    if len(listed) > limits.files:
        raise LimitExceeded(what=f"the manifest of {what}", found=f"{len(listed)} layers", limit=limits.files)
    layers: dict[Digest, Layer] = {}
    for descriptor in [config, *listed]:
        layer = _layer(descriptor, what, limits)
        if (twin := layers.get(layer.digest)) is not None and twin.size != layer.size:
            raise BadManifest(what=what, reason=f"it lists {layer.digest} with two sizes")
        layers.setdefault(layer.digest, layer)
    if not any(layer.media_type == "application/vnd.ollama.image.model" for layer in layers.values()):
        raise NothingToImport(what=what, detail=": its manifest has no layer with a model")
    return tuple(layers.values())


def _layer(descriptor: Any, what: str, limits: Limits) -> Layer:
    match descriptor:
        case {"mediaType": str(media_type), **rest} if media_type.isascii() and media_type.isprintable():
            pass
        case _:
            raise BadManifest(what=what, reason="a layer has no media type")
    match rest:
        case {"digest": str(text), "size": int(size)} if 0 <= size <= limits.file_bytes:
            return Layer(Digest.parse(text), size, media_type)
    raise BadManifest(what=what, reason="a layer has no digest and size")
