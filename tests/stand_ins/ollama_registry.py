"""A registry that speaks as registry.ollama.ai does: manifests by tag, blobs behind a redirect to another host name."""

from __future__ import annotations

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.stand_ins.http import Content, StandIn

_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class OllamaRegistry(StandIn):
    """Fill it with `add_model`; then change any field."""

    def __init__(self, address: str = "127.0.0.1", *, redirect_blobs: bool = True) -> None:
        super().__init__(address)
        self.manifests: dict[tuple[str, str], bytes] = {}
        """Bytes by repository and tag."""
        self.blobs: dict[str, Content] = {}
        self.redirect_blobs = redirect_blobs
        self.redirect_to: str | None = None
        """Where blob requests are sent instead of our own other name."""
        self.token: str | None = None
        """Asked of everyone, and handed out at `/token` to who knows `password`."""
        self.password: str | None = None
        self.challenges: list[str] | None = None
        """Lines of WWW-Authenticate instead of the one that names `/token`."""
        self.token_answer: bytes | None = None
        self.token_uses: int | None = None
        """After so many requests with it, a token has expired: `/token` gives the next."""
        self._used = 0
        self._tokens = 0

    def add_blob(self, source: bytes | Path) -> tuple[str, int]:
        content = Content(source)
        digest = f"sha256:{_sha256(content)}"
        self.blobs[digest] = content
        return digest, content.size

    def add_model(
        self, repository: str, tag: str, gguf: bytes | Path, *, template: str = "", params: str = "", license: str = "",
        projector: bytes = b"", adapter: bytes = b"",
    ) -> bytes:  # fmt: skip
        """The manifest's bytes."""
        layers = []
        parts = [
            ("model", gguf),
            ("projector", projector),
            ("adapter", adapter),
            ("template", template.encode()),
            ("params", params.encode()),
            ("license", license.encode()),
        ]
        for kind, source in parts:
            if source:
                digest, size = self.add_blob(source)
                layers.append({"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": size})
        config = {"model_format": "gguf", "model_family": "test", "architecture": "amd64", "os": "linux"}
        digest, size = self.add_blob(json.dumps({**config, "layers": [layer["digest"] for layer in layers]}).encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": _TYPE,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest, "size": size},
            "layers": layers,
        }
        self.manifests[repository, tag] = json.dumps(manifest, separators=(",", ":")).encode()  # as registry.ollama.ai does
        return self.manifests[repository, tag]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        if path == "/token":
            return self._send_token(request)
        if match := re.fullmatch(r"/elsewhere/(sha256:[0-9a-f]{64})", path):
            return self._send_blob(request, match[1])
        if self.token is not None and not self._takes(request.headers.get("Authorization")):
            challenge = f'Bearer realm="{self.url}/token",service="stand-in",scope="pull"'
            return self.send(request, 401, b'{"errors":[]}', WWW_Authenticate=self.challenges or challenge)
        if path == "/v2/":
            return self.send(request, 200, b"{}")
        if match := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            manifest = self.manifests.get((match[1], match[2]))
            if manifest is None:
                return self.send(request, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
            return self.send(request, 200, manifest, Content_Type=_TYPE)
        if match := re.fullmatch(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})", path):
            if not self.redirect_blobs:
                return self._send_blob(request, match[2])
            target = self.redirect_to or f"http://localhost:{self.port}/elsewhere/{match[2]}"
            return self.send(request, 307, b"", Location=target)
        return self.send(request, 404, b"{}")

    def _takes(self, shown: str | None) -> bool:
        with self._lock:
            if shown != f"Bearer {self.token}":
                return False
            self._used += 1
            return self.token_uses is None or self._used <= self.token_uses

    def _send_token(self, request: BaseHTTPRequestHandler) -> None:
        import base64

        if self.token_answer is not None:
            return self.send(request, 200, self.token_answer)
        asked = request.headers.get("Authorization", "")
        if self.password is not None and asked != f"Basic {base64.b64encode(self.password.encode()).decode()}":
            return self.send(request, 401, b"{}")
        with self._lock:
            if self.token_uses is not None and self._used >= self.token_uses:
                self._tokens, self._used = self._tokens + 1, 0
                self.token = f"token-{self._tokens}"
        return self.send(request, 200, json.dumps({"token": self.token}).encode())

    def _send_blob(self, request: BaseHTTPRequestHandler, digest: str) -> None:
        content = self.blobs.get(digest)
        if content is None:
            return self.send(request, 404, b"{}")
        return self.send_content(request, content, etag=digest[7:39])


def _sha256(content: Content) -> str:
    if isinstance(content.source, bytes):
        return hashlib.sha256(content.source).hexdigest()
    with content.source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
