"""Models in a registry that speaks as Ollama's does. Source: OCI distribution protocol v2; `ollama pull` as observed.

The manifest is kept byte for byte: its sha256 is the id that `ollama list` shows, and re-serialising would change it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from modelshelf.digest import Digest
from modelshelf.errors import (
    BadManifest,
    DigestMismatch,
    LimitExceeded,
    ModelshelfError,
    NotFound,
    NothingToImport,
    SpeaksHttp,
    Unreachable,
)
from modelshelf.formats.kinds import Format, PartKind, Role
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath, ModelName, tag_for
from modelshelf.sources.bearer import RegistryLogin
from modelshelf.sources.contract import Listing, Pin, SourceFile
from modelshelf.sources.fetch import Wanted
from modelshelf.sources.uri import OllamaName, OllamaUri
from modelshelf.stop import StopToken
from modelshelf.strict_json import load_json
from modelshelf.transfer.download import Remote
from modelshelf.wire import Answer, Url, Wire

MANIFEST_PATH = FilePath("manifest.json")
"""Where the registry's manifest lies in the model's files."""

_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_MANIFEST_LIST = "application/vnd.ollama.manifest.list.v2+json"
_GGUF_RUNNERS = ("ggml", "llamacpp")
_MODEL = "application/vnd.ollama.image.model"
_TENSOR = "application/vnd.ollama.image.tensor"
_PARTS = {
    _MODEL: PartKind.MODEL,
    "application/vnd.ollama.image.projector": PartKind.PROJECTOR,
    "application/vnd.ollama.image.adapter": PartKind.ADAPTER,
    "application/vnd.ollama.image.draft": PartKind.DRAFT,
}
_MEDIA_TYPE = re.compile(r"[!-~]{1,127}/[!-~]{1,127}", re.ASCII)
"""Source: RFC 6838, 4.2."""
_LICENSE = "application/vnd.ollama.image.license"


_NO_MODEL = ": its manifest has no layer with a model"


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
        self._pinned: bytes | None = None
        self._base = Url(f"{'http' if plain_http else 'https'}://{self.name.host}/v2/{self.name.repository}")
        self.login = RegistryLogin(self.wire, self._base, user=user, secret=secret, trusted_hosts=trusted_hosts, limits=limits)

    def pin(self, stop: StopToken) -> Pin:
        self._pinned = self._manifest(str(self.name.tag), stop)
        return Pin(tag_for(str(self.name.tag)), Digest.of(self._pinned).hex)

    def list_files(self, pin: Pin, stop: StopToken) -> Listing:
        """From the manifest that was pinned here. Else asked by digest where the registry can, by tag where it cannot (Ollama's
        own cannot), and compared."""
        wanted = Digest(pin.resolved)
        if self._pinned is not None and Digest.of(self._pinned) == wanted:
            content = self._pinned
        else:
            try:
                content = self._manifest(str(wanted), stop)
            except NotFound:
                content = self._manifest(str(self.name.tag), stop)
        if Digest.of(content) != wanted:
            raise NotFound(host=self._base.place, what=f"manifest {wanted} of {self.name.in_registry} any more", status=200)
        layers = layers_of(content, what=str(self.name), limits=self._limits)
        if not has_model(layers):
            raise NothingToImport(what=self.name, detail=why_no_model(layers) or self._why_remote(layers[0], stop))
        files = tuple(self._file(layer) for layer in layers)
        return Listing(Format.OLLAMA, files, inline=((MANIFEST_PATH, Role.CONFIG, content),))

    def _manifest(self, reference: str, stop: StopToken) -> bytes:
        """The manifest of that name; where a list of manifests has it, the one of that list that our engines serve."""
        content = self._content(f"manifests/{reference}", self.name.in_registry, stop)
        if (child := choose_child(content, what=str(self.name), limits=self._limits)) is None:
            return content
        what = f"manifest {child.short} of {self.name.in_registry}"
        try:
            content = self._content(f"manifests/{child}", what, stop)
        except NotFound:
            content = self._content(f"blobs/{child}", what, stop)
        content = self._proven(content, child, what)
        if choose_child(content, what=str(self.name), limits=self._limits) is not None:
            raise BadManifest(what=self.name, reason="its list of manifests names another list")
        return content

    def _why_remote(self, config: Layer, stop: StopToken) -> str:
        """A model of Ollama's cloud says in its config where it runs; it has no weights to import."""
        what = f"config of {self.name.in_registry}"
        content = self._proven(self._content(f"blobs/{config.digest}", what, stop), config.digest, what)
        return why_no_weights(content, what=what, limits=self._limits)

    def _proven(self, content: bytes, digest: Digest, what: str) -> bytes:
        if (found := Digest.of(content)) != digest:
            raise DigestMismatch(what=what, whose=self._base.place, expected=digest, found=found, size=len(content))
        return content

    def _content(self, path: str, what: str, stop: StopToken) -> bytes:
        answer = self._get(Url(f"{self._base.text}/{path}"), stop).expect(200, what=what, login=f"ollama {self.name.host}")
        if not answer.body:
            raise BadManifest(what=what, reason="it is empty")
        return answer.body

    def _get(self, url: Url, stop: StopToken) -> Answer:
        accept = {"Accept": f"{_DOCKER_MANIFEST}, {_OCI_MANIFEST}, {_MANIFEST_LIST}"}
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
            what=f"layer {layer.digest.short} ({layer.media_type.rpartition('.')[2]}) of {self.name.in_registry}",
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
    """The blobs that a manifest of a model names. Raises BadManifest, LimitExceeded, NothingToImport."""
    layers = layers_of(content, what=what, limits=limits)
    if not has_model(layers):
        raise NothingToImport(what=what, detail=why_no_model(layers) or _NO_MODEL)
    return layers


def choose_child(content: bytes, *, what: str, limits: Limits = DEFAULT) -> Digest | None:
    """The first manifest of a list that has GGUF for llama.cpp or Ollama; None if this is no list of Ollama's.

    Source: the list that Ollama proposes (pull request 16590): `manifests` with `digest`, `runner` and `format`.
    """
    match load_json(content, file=f"the manifest of {what}", limits=limits):
        case {"mediaType": str(kind), "manifests": list(listed)} if kind == _MANIFEST_LIST:
            pass
        case _:
            return None
    if len(listed) > limits.files:
        raise LimitExceeded(what=f"the manifest of {what}", found=f"{len(listed)} manifests", limit=limits.files)
    others = []
    for child in listed:
        match child:
            case {"digest": str(digest), "runner": str(runner), "format": str(form)}:
                if runner in _GGUF_RUNNERS and form == "gguf":
                    return Digest.parse(digest)
                others.append(f"{runner[:20]!r} with {form[:20]!r}")
            case _:
                raise BadManifest(what=what, reason="its list has a manifest without digest, runner and format")
    raise NothingToImport(
        what=what, detail=f": it is published for {', '.join(others[:5]) or 'nothing'}, which no engine here serves"
    )


def layers_of(content: bytes, *, what: str, limits: Limits = DEFAULT) -> tuple[Layer, ...]:
    """The blobs that a manifest names, each once, the config first. Raises BadManifest, LimitExceeded."""
    match load_json(content, file=f"the manifest of {what}", limits=limits):
        case {"manifests": _}:
            raise BadManifest(what=what, reason="it is an index of other manifests, not a model")
        case {"schemaVersion": 2, "config": dict(config), "layers": list() | None as given}:
            listed = given or []  # Go writes an empty list as null
        case {"schemaVersion": 2, "config": dict(config), **rest} if "layers" not in rest:
            listed = []
        case _:
            raise BadManifest(what=what, reason="it lacks the config and layers of schema version 2")
    if len(listed) > limits.files:
        raise LimitExceeded(what=f"the manifest of {what}", found=f"{len(listed)} layers", limit=limits.files)
    layers: dict[Digest, Layer] = {}
    for descriptor in [config, *listed]:
        layer = _layer(descriptor, what, limits)
        if (twin := layers.get(layer.digest)) is not None and twin.size != layer.size:
            raise BadManifest(what=what, reason=f"it lists {layer.digest} with two sizes")
        layers.setdefault(layer.digest, layer)
    return tuple(layers.values())


def has_model(layers: tuple[Layer, ...]) -> bool:
    return any(layer.media_type == _MODEL for layer in layers)


def why_no_model(layers: tuple[Layer, ...]) -> str:
    """What the layers are in place of a model; empty if they do not show it."""
    if any(layer.media_type == _TENSOR for layer in layers):
        return ": its weights are single tensors for MLX, which no engine here serves"
    return ""


def why_no_weights(config: bytes, *, what: str, limits: Limits = DEFAULT) -> str:
    """Return why a manifest without layers has no weights, as its config says. A model of Ollama's cloud names where it runs."""
    match load_json(config, file=what, limits=limits):
        case {"remote_host": str(host), "remote_model": str(model)} if host:
            return f": it is a cloud model, which runs as {model[:100]!r} at {host[:100]!r}, and its weights are not published"
    return _NO_MODEL


def _layer(descriptor: Any, what: str, limits: Limits) -> Layer:
    match descriptor:
        case {"mediaType": str(media_type), **rest} if _MEDIA_TYPE.fullmatch(media_type):
            pass
        case _:
            raise BadManifest(what=what, reason="a layer has no media type")
    match rest:
        case {"digest": str(text), "size": int(size)} if 0 <= size <= limits.file_bytes:
            return Layer(Digest.parse(text), size, media_type)
    raise BadManifest(what=what, reason="a layer has no digest and size")
