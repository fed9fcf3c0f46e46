from __future__ import annotations

import json
import time

import pytest

from modelshelf.digest import Digest
from modelshelf.errors import (
    BadDigest,
    BadManifest,
    DigestMismatch,
    LimitExceeded,
    NotFound,
    NothingToImport,
    Refused,
    SpeaksHttp,
    Unreachable,
)
from modelshelf.library.opening import Library
from modelshelf.sources.ollama import OllamaSource
from modelshelf.sources.uri import OllamaName, OllamaUri
from modelshelf.stop import StopToken
from tests.making import SMALL, bring_in, gguf, ollama_source
from tests.stand_ins.ollama_registry import OllamaRegistry


def test_the_manifest_is_kept_byte_for_byte_and_its_digest_is_the_pin(registry: OllamaRegistry, library: Library) -> None:
    compact = registry.add_model("library/tiny", "1b", gguf(), template="{{ .Prompt }}", params='{"stop": ["x"]}')
    manifest = registry.manifests["library/tiny", "1b"] = json.dumps(json.loads(compact), indent=3).encode() + b"\n"
    version, _ = bring_in(library, ollama_source(registry))
    assert version.resolved == Digest.of(manifest).hex
    assert str(version.name) == f"1b-{version.resolved[:8]}"
    assert [str(alias) for alias in version.aliases] == ["1b"]
    with library.store.open(Digest.of(manifest)) as file:
        assert file.read() == manifest


@pytest.mark.parametrize("redirect", [True, False])
def test_blobs_come_with_and_without_a_redirect(registry: OllamaRegistry, library: Library, redirect: bool) -> None:
    registry.redirect_blobs = redirect
    registry.add_model("library/tiny", "1b", gguf())
    assert bring_in(library, ollama_source(registry))[0].state == "ready"


def test_a_tag_that_moves_after_it_was_pinned_changes_nothing_for_who_pinned_it(registry: OllamaRegistry) -> None:
    registry.add_model("library/tiny", "1b", gguf(seed=1))
    source = ollama_source(registry)
    pin = source.pin(StopToken())
    before = {file.digest for file in source.list_files(pin, StopToken()).files}
    registry.add_model("library/tiny", "1b", gguf(seed=2))
    assert {file.digest for file in source.list_files(pin, StopToken()).files} == before
    with pytest.raises(NotFound, match="any more"):
        ollama_source(registry).list_files(pin, StopToken())


def test_a_tag_that_has_moved_makes_a_new_version_and_moves_the_alias(registry: OllamaRegistry, library: Library) -> None:
    registry.add_model("library/tiny", "1b", gguf(seed=1))
    first, _ = bring_in(library, ollama_source(registry))
    registry.add_model("library/tiny", "1b", gguf(seed=2))
    second, _ = bring_in(library, ollama_source(registry), run="run-2")
    assert first.name != second.name
    from modelshelf.catalog import versions
    from tests.making import P

    with library.catalog.reading() as connection:
        assert versions.get(connection, P, first.id).state == "ready"
        assert versions.get(connection, P, first.id).aliases == ()
        assert [str(alias) for alias in versions.get(connection, P, second.id).aliases] == ["1b"]


def test_a_tag_that_does_not_exist_is_told(registry: OllamaRegistry) -> None:
    with pytest.raises(NotFound, match=r"has no .*tiny:1b") as refused:
        ollama_source(registry).pin(StopToken())
    assert str(refused.value).count(registry.host) == 1, "the registry is named once"


@pytest.mark.parametrize(
    "manifest",
    [
        b"", b"[]", b"{}", b"not json", b'{"manifests": []}', b'{"schemaVersion": 1, "config": {}, "layers": []}',
        b'{"schemaVersion": 2, "config": {"mediaType": "x", "digest": "sha256:00", "size": 1}, "layers": []}',
        b'{"schemaVersion": 2, "schemaVersion": 2}', b'{"a": NaN}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused(registry: OllamaRegistry, manifest: bytes) -> None:
    registry.manifests["library/tiny", "1b"] = manifest
    source = ollama_source(registry)
    with pytest.raises(Refused):
        source.list_files(source.pin(StopToken()), StopToken())


@pytest.mark.parametrize("media_type", ["x", "a/" + "b" * 1000, "a/b\x1b", "a/ b", ""])
def test_a_media_type_that_is_none_is_refused(registry: OllamaRegistry, media_type: str) -> None:
    manifest = json.loads(registry.add_model("library/tiny", "1b", gguf()))
    manifest["layers"][0]["mediaType"] = media_type
    registry.manifests["library/tiny", "1b"] = json.dumps(manifest).encode()
    source = ollama_source(registry)
    with pytest.raises(BadManifest, match="media type"):
        source.list_files(source.pin(StopToken()), StopToken())


def test_a_manifest_without_a_model_layer_is_refused(registry: OllamaRegistry) -> None:
    manifest = json.loads(registry.add_model("library/tiny", "1b", gguf(), template="t"))
    manifest["layers"] = manifest["layers"][1:]
    registry.manifests["library/tiny", "1b"] = json.dumps(manifest).encode()
    source = ollama_source(registry)
    with pytest.raises(NothingToImport):
        source.list_files(source.pin(StopToken()), StopToken())


def test_a_manifest_over_its_limit_is_not_read_past_it(registry: OllamaRegistry) -> None:
    registry.manifests["library/tiny", "1b"] = b" " * (SMALL.manifest_bytes + 1)
    with pytest.raises(LimitExceeded):
        ollama_source(registry).pin(StopToken())


def test_a_manifest_with_too_many_layers_is_refused(registry: OllamaRegistry) -> None:
    layer = {"mediaType": "x", "digest": f"sha256:{'0' * 64}", "size": 1}
    manifest = {"schemaVersion": 2, "config": layer, "layers": [layer] * (SMALL.files + 1)}
    registry.manifests["library/tiny", "1b"] = json.dumps(manifest, separators=(",", ":")).encode()
    source = ollama_source(registry)
    with pytest.raises((LimitExceeded, BadManifest)):
        source.list_files(source.pin(StopToken()), StopToken())


def test_config_and_layer_of_one_digest_are_verified_once_and_fully(registry: OllamaRegistry, library: Library) -> None:
    manifest = json.loads(registry.add_model("library/tiny", "1b", gguf(), license="MIT"))
    manifest["config"] |= {key: manifest["layers"][1][key] for key in ("digest", "size")}
    registry.manifests["library/tiny", "1b"] = json.dumps(manifest).encode()
    registry.faults.flip_byte_at = 1
    with pytest.raises((DigestMismatch, Refused)):
        bring_in(library, ollama_source(registry))
    registry.faults.flip_byte_at = None
    registry.requests.clear()
    version, plan = bring_in(library, ollama_source(registry), run="run-2")
    assert version.state == "ready"
    assert len({file.path for file in plan.files}) == len(plan.files)


def test_a_digest_listed_with_two_sizes_is_refused(registry: OllamaRegistry) -> None:
    manifest = json.loads(registry.add_model("library/tiny", "1b", gguf()))
    manifest["layers"].append({**manifest["layers"][0], "size": 5})
    registry.manifests["library/tiny", "1b"] = json.dumps(manifest).encode()
    source = ollama_source(registry)
    with pytest.raises(BadManifest, match="two sizes"):
        source.list_files(source.pin(StopToken()), StopToken())


def test_urls_in_a_descriptor_are_ignored(registry: OllamaRegistry, library: Library) -> None:
    manifest = json.loads(registry.add_model("library/tiny", "1b", gguf()))
    manifest["layers"][0]["urls"] = ["http://10.0.0.1/evil"]
    registry.manifests["library/tiny", "1b"] = json.dumps(manifest).encode()
    assert bring_in(library, ollama_source(registry))[0].state == "ready"


# --- a registry without TLS ---------------------------------------------------------------------------------------


def test_a_registry_that_speaks_http_is_told_at_once_with_the_login_that_helps(registry: OllamaRegistry) -> None:
    registry.add_model("library/tiny", "1b", gguf())
    uri = OllamaUri(OllamaName.parse(f"{registry.host}/library/tiny:1b"))
    source = OllamaSource(uri, user="me", secret="canary", limits=SMALL)
    began = time.monotonic()
    with pytest.raises(SpeaksHttp, match=f"`modelshelf login ollama {registry.host} --http --no-secret`"):
        source.pin(StopToken())
    assert time.monotonic() - began < 3
    assert [path for _, path, _ in registry.requests] == ["/v2/"]
    assert "Authorization" not in registry.requests[0][2]


def test_a_registry_that_is_not_there_at_all_is_unreachable() -> None:
    source = OllamaSource(OllamaUri(OllamaName.parse("127.0.0.1:1/library/tiny:1b")), limits=SMALL)
    with pytest.raises(Unreachable):
        source.pin(StopToken())


# --- what a registry has beside models of GGUF ------------------------------------------------------------------------

LIST = "application/vnd.ollama.manifest.list.v2+json"


def listed(registry: OllamaRegistry, tag: str = "1b") -> list[str]:
    source = ollama_source(registry, f"library/tiny:{tag}")
    return [str(file.path) for file in source.list_files(source.pin(StopToken()), StopToken()).files]


def stub(registry: OllamaRegistry, config: dict[str, object], layers: object) -> None:
    digest, size = registry.add_blob(json.dumps(config).encode())
    described = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest, "size": size}
    manifest = {"schemaVersion": 2, "config": described, "layers": layers}
    registry.manifests["library/tiny", "1b"] = json.dumps(manifest).encode()


@pytest.mark.parametrize("layers", [[], None])
def test_a_cloud_model_is_named_for_what_it_is(registry: OllamaRegistry, layers: object) -> None:
    stub(registry, {"remote_host": "https://ollama.com:443", "remote_model": "kimi:1t"}, layers)
    with pytest.raises(
        NothingToImport,
        match="cloud model, which runs as 'kimi:1t' at 'https://ollama.com:443', and its weights are not published",
    ):
        listed(registry)


def test_an_empty_model_that_is_no_cloud_model_has_no_model(registry: OllamaRegistry) -> None:
    stub(registry, {"model_format": "gguf"}, [])
    with pytest.raises(NothingToImport, match="no layer with a model"):
        listed(registry)


def test_single_tensors_for_mlx_are_named_for_what_they_are(registry: OllamaRegistry) -> None:
    digest, size = registry.add_blob(b"tensor")
    stub(registry, {}, [{"mediaType": "application/vnd.ollama.image.tensor", "digest": digest, "size": size, "name": "w"}])
    with pytest.raises(NothingToImport, match="single tensors for MLX"):
        listed(registry)


def manifest_list(registry: OllamaRegistry, *children: tuple[str, str, str]) -> None:
    """The tag `1b` becomes a list; each child is a runner, a format and the tag whose manifest it names."""
    entries = []
    for runner, form, tag in children:
        content = registry.manifests["library/tiny", tag]
        digest = str(Digest.of(content))
        registry.manifests["library/tiny", digest] = content
        entries.append({"mediaType": "m", "digest": digest, "size": len(content), "runner": runner, "format": form})
    body = {"schemaVersion": 2, "mediaType": LIST, "manifests": entries}
    registry.manifests["library/tiny", "1b"] = json.dumps(body).encode()


@pytest.mark.parametrize("runner", ["ggml", "llamacpp"])
def test_of_a_list_of_manifests_the_one_with_gguf_is_the_model(registry: OllamaRegistry, library: Library, runner: str) -> None:
    registry.add_model("library/tiny", "mlx", gguf(seed=1))
    wanted = registry.add_model("library/tiny", "gguf", gguf(seed=2))
    manifest_list(registry, ("mlx", "safetensors", "mlx"), (runner, "gguf", "gguf"))
    version, _ = bring_in(library, ollama_source(registry))
    assert version.resolved == Digest.of(wanted).hex
    assert version.state == "ready"


def test_a_list_without_gguf_says_what_it_is_for(registry: OllamaRegistry) -> None:
    registry.add_model("library/tiny", "mlx", gguf())
    manifest_list(registry, ("mlx", "safetensors", "mlx"))
    with pytest.raises(NothingToImport, match="published for 'mlx' with 'safetensors'"):
        listed(registry)


def test_a_child_that_is_not_what_the_list_names_is_refused(registry: OllamaRegistry) -> None:
    content = registry.add_model("library/tiny", "gguf", gguf())
    manifest_list(registry, ("ggml", "gguf", "gguf"))
    registry.manifests["library/tiny", str(Digest.of(content))] = registry.add_model("library/tiny", "x", gguf(seed=9))
    with pytest.raises(DigestMismatch):
        listed(registry)


# --- a list of manifests that lies --------------------------------------------------------------------------------


def listing(children: object) -> bytes:
    return json.dumps({"mediaType": "application/vnd.ollama.manifest.list.v2+json", "manifests": children}).encode()


def child_of(content: bytes) -> dict[str, object]:
    return {"mediaType": "x", "digest": str(Digest.of(content)), "runner": "llamacpp", "format": "gguf"}


def test_a_list_that_names_another_list_is_refused(registry: OllamaRegistry) -> None:
    inner = listing([child_of(registry.add_model("library/tiny", "1b", gguf()))])
    registry.manifests["library/tiny", str(Digest.of(inner))] = inner
    registry.manifests["library/tiny", "1b"] = listing([child_of(inner)])
    with pytest.raises(BadManifest, match="another list"):
        ollama_source(registry).pin(StopToken())


@pytest.mark.parametrize(
    "change",
    [{"digest": "sha256:../../x"}, {"digest": "SHA256:" + "A" * 64}, {"digest": 7}, {"runner": ["ggml"]}, {"format": None}],
    ids=str,
)
def test_a_list_whose_entry_is_none_is_refused(registry: OllamaRegistry, change: dict[str, object]) -> None:
    child = child_of(registry.add_model("library/tiny", "1b", gguf()))
    registry.manifests["library/tiny", "1b"] = listing([{**child, **change}])
    with pytest.raises((BadManifest, BadDigest)):
        ollama_source(registry).pin(StopToken())


def test_a_listed_manifest_that_is_another_is_refused(registry: OllamaRegistry) -> None:
    content = registry.add_model("library/tiny", "1b", gguf())
    registry.manifests["library/tiny", str(Digest.of(content))] = content + b" "
    registry.manifests["library/tiny", "1b"] = listing([child_of(content)])
    with pytest.raises(DigestMismatch):
        ollama_source(registry).pin(StopToken())
