"""Two files of 1 GiB, and one of 2 GiB, from nginx on loopback into the store: verified and on the disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.making import gguf

GiB = 1 << 30
_CHUNK = 64 << 20
_TYPE = "application/vnd.ollama.image"


@dataclass(frozen=True)
class Row:
    what: str
    seconds: float
    limit: float | None = None
    """The same by the machine's own tools, in seconds."""
    target: float | None = None
    """The ratio to reach."""

    @property
    def ratio(self) -> float | None:
        return self.seconds / self.limit if self.limit else None


def make_weights(folder: Path, size: int, seed: int) -> Path:
    """A whole GGUF of about that size, in bytes."""
    path = folder / f"weights-{seed}"
    head = gguf(size)[: -size + size % 32] if size < _CHUNK else _header(size)
    block = os.urandom(_CHUNK)
    with path.open("wb") as file:
        file.write(head)
        for at in range(0, size, _CHUNK):
            file.write(block[: min(_CHUNK, size - at)])
            block = block[1:] + block[:1]
    return path


def _header(size: int) -> bytes:
    small = gguf(64)[:-64]
    import struct

    return small.replace(struct.pack("<IQIQ", 1, 64, 24, 0), struct.pack("<IQIQ", 1, size, 24, 0))


def publish(root: Path, tag: str, files: list[Path]) -> list[str]:
    """The files under an Ollama registry's paths, for a server of plain files; their digests."""
    blobs, manifests = root / "v2/library/bench/blobs", root / "v2/library/bench/manifests"
    for folder in (blobs, manifests):
        folder.mkdir(parents=True, exist_ok=True)
    descriptors = []
    for kind, file in zip(("model", "adapter"), files, strict=False):
        with file.open("rb") as content:
            digest = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
        file.rename(blobs / digest)
        descriptors.append({"mediaType": f"{_TYPE}.{kind}", "digest": digest, "size": (blobs / digest).stat().st_size})
    config = json.dumps({"tag": tag}).encode()
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    (blobs / digest).write_bytes(config)
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest, "size": len(config)},
        "layers": descriptors,
    }
    (manifests / tag).write_text(json.dumps(manifest))
    return [str(one["digest"]) for one in descriptors]


@contextmanager
def nginx(folder: Path, root: Path) -> Iterator[tuple[int, int, Path]]:
    """Ports for http and https, and the file of the authority that signed the certificate."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    plain, tls = _free_port(), _free_port()
    config = folder / "nginx.conf"
    config.write_text(f"""
        daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/error.log;
        user root;
        events {{ worker_connections 256; }}
        http {{
            access_log off; sendfile on; default_type application/octet-stream;
            client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
            uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
            server {{
                listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;
                ssl_certificate {certificate}; ssl_certificate_key {key};
                root {root};
            }}
        }}""")
    server = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        _until_listening(tls)
        yield plain, tls, certificate
    finally:
        server.terminate()
        server.wait()


def by_hand(base: str, digests: list[str], into: Path, certificate: Path) -> float:
    """Seconds for `curl … | tee FILE | openssl sha256` of all files side by side, then `sync` of each."""
    began = time.monotonic()
    shell = 'curl -sf --cacert "$1" "$2" | tee "$3" | openssl sha256 -r && sync "$3"'
    running = [
        subprocess.Popen(
            ["bash", "-c", shell, "bash", str(certificate), f"{base}/v2/library/bench/blobs/{digest}", str(into / digest)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for digest in digests
    ]
    said = [one.communicate()[0].split()[0] for one in running]
    seconds = time.monotonic() - began
    assert [f"sha256:{one}" for one in said] == digests
    return seconds


def ours(home: Path, host: str, tag: str, certificate: Path, *, plain_http: bool) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "tests.bench.child",
        str(home),
        f"{host}/library/bench:{tag}",
        *(["http"] if plain_http else []),
    ]
    environment = {**os.environ, "SSL_CERT_FILE": str(certificate)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def copied(source: Path, into: Path) -> float:
    began = time.monotonic()
    subprocess.run(["bash", "-c", 'cp "$1" "$2" && sync "$2"', "bash", str(source), str(into / "copy")], check=True)
    return time.monotonic() - began


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_listening(port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(port)
