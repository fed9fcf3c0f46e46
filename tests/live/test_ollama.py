"""The real Ollama: several models from links, its own list of digests, and what it writes stays its own."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from modelshelf.catalog import versions
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import EngineNotReady, NotFound
from modelshelf.library import running, saving
from modelshelf.library.launching import prove
from modelshelf.library.launching.models import models_of
from modelshelf.library.launching.request import LaunchRequest
from modelshelf.library.launching.start import Started
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.names import InstanceName, ServedName, Tag
from modelshelf.nodes import processes
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri, InstanceUri, OllamaName
from modelshelf.stop import StopToken
from modelshelf.wire import Url, Wire, json_body
from tests.library.test_true_bytes import stale
from tests.making import P, bring_in, launch_all, ollama_source
from tests.nodes.local import node_of, own_folder
from tests.nodes.test_members import until
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live
BOTH = InstanceName("both")
REQUEST = LaunchRequest(engine="ollama")
SHORT: dict[str, object] = {"stream": False, "options": {"num_predict": 8}}


@pytest.fixture
def both(registry: OllamaRegistry, ollama: Library, gemma: Path) -> tuple[Library, Instance]:
    """One instance with two models that share their weights."""
    library = ollama
    serves = []
    for tag in ("270m", "270m-short"):
        registry.add_model("library/gemma3", tag, gemma, params=json.dumps({"num_predict": 8, "tag": tag}))
        version, _ = bring_in(library, ollama_source(registry, f"library/gemma3:{tag}", limits=DEFAULT), limits=DEFAULT)
        serves.append((version, ServedName(f"gemma-{tag}")))
    return library, launch_all(library, BOTH, tuple(serves), REQUEST)


def ask(instance: Instance, path: str, body: dict[str, object]) -> dict[str, object]:
    url = Url(f"http://127.0.0.1:{instance.port}{path}")
    answer = Wire().request("POST", url, headers={"Content-Type": "application/json"}, body=json_body(body), seconds=120)
    return dict(answer.expect(200, what=path).json())


def test_two_models_that_share_their_weights_are_listed_by_their_digests_and_answer(both: tuple[Library, Instance]) -> None:
    library, instance = both
    listed = Wire().request("GET", Url(f"http://127.0.0.1:{instance.port}/api/tags")).json()["models"]
    with library.catalog.reading() as connection:
        wanted = {f"{one.served_name}:latest": versions.get(connection, P, one.version_id).resolved for one in instance.serves}
    assert {model["name"]: model["digest"] for model in listed} == wanted
    for one in instance.serves:
        said = ask(
            instance, "/api/generate", {"model": str(one.served_name), "prompt": "The capital of France is", "stream": False}
        )
        assert said["response"]


def test_its_models_are_links_and_no_byte_of_the_weights_is_copied(both: tuple[Library, Instance]) -> None:
    library, instance = both
    own = own_folder(library, instance) / "models"
    for blob in (own / "blobs").iterdir():
        stored = library.settings.store / "blobs" / "sha256" / blob.name.removeprefix("sha256-")
        assert blob.samefile(stored)
    weights = [blob for blob in (own / "blobs").iterdir() if blob.stat().st_size > 1_000_000]
    assert len(weights) == 1, "the two share one file"


def test_links_to_its_models_cost_no_reading_of_the_weights(both: tuple[Library, Instance]) -> None:
    library, instance = both
    assert stale(library) == []
    running.delete_instance(library, P, instance.name, "test")
    assert stale(library) == []


def test_what_is_made_or_removed_inside_stays_inside(both: tuple[Library, Instance]) -> None:
    library, instance = both
    before = {
        blob.name: (blob.stat().st_ino, blob.stat().st_size) for blob in (library.settings.store / "blobs" / "sha256").iterdir()
    }
    served = [str(one.served_name) for one in instance.serves]
    ask(instance, "/api/create", {"model": "mine", "from": served[0], "system": "You are short.", "stream": False})
    ask(instance, "/api/create", {"model": served[0], "from": served[1], "system": "Overwritten.", "stream": False})
    url = Url(f"http://127.0.0.1:{instance.port}/api/delete")
    Wire().request("DELETE", url, body=json_body({"model": served[1]})).expect(200, what="a deletion")
    after = {
        blob.name: (blob.stat().st_ino, blob.stat().st_size) for blob in (library.settings.store / "blobs" / "sha256").iterdir()
    }
    assert after == before, "the store is as it was, but for times: Ollama 0.32 touches the blobs that a new model shares"
    for blob in library.store.stored():
        with library.store.open(blob.digest) as file:
            assert Digest.of_file(file) == blob.digest
    running.stop_instance(library, P, BOTH, "test")
    again = launch_all(library, BOTH, tuple(_serves(library, instance)), REQUEST)
    listed = {model["name"] for model in Wire().request("GET", Url(f"http://127.0.0.1:{again.port}/api/tags")).json()["models"]}
    assert listed == {"mine:latest", *(f"{name}:latest" for name in served)}, "its own stays, ours is as it was"


def test_a_changed_manifest_is_caught(both: tuple[Library, Instance]) -> None:
    library, instance = both
    name = str(instance.serves[0].served_name)
    manifest = own_folder(library, instance) / f"models/manifests/registry.ollama.ai/library/{name}/latest"
    manifest.write_text(manifest.read_text().replace('"schemaVersion":2', '"schemaVersion": 2'))
    models = tuple(one.model for one in models_of(library, P, tuple(_serves(library, instance))))
    with pytest.raises(EngineNotReady, match="expected digest"):
        prove.wait_until_ready(library, Started(instance, models), StopToken())


def test_a_model_made_inside_is_saved_while_it_serves_and_another_instance_serves_it(both: tuple[Library, Instance]) -> None:
    library, instance = both
    inside = str(instance.serves[0].served_name)
    ask(instance, "/api/create", {"model": "mine:v1", "from": inside, "system": "You are a pirate.", "stream": False})
    held = {blob.digest for blob in library.store.stored()}
    uri = InstanceUri(BOTH, OllamaName.parse("mine:v1"))
    source = saving.source_in(library, P, uri, Tag("first"))
    version, plan = bring_in(library, source, name="support-bot", limits=DEFAULT)
    assert str(version.ref).startswith("support-bot:first-")
    weights = max(plan.files, key=lambda file: file.size)
    assert not weights.fetch
    assert plan.to_fetch < 10_000, "only what the store lacks is copied"
    assert {blob.digest for blob in library.store.stored()} > held
    assert running.is_running(library, instance), "the instance went on"
    second = launch_all(library, InstanceName("second"), ((version, ServedName("bot")),), REQUEST)
    assert ask(second, "/api/show", {"model": "bot"})["system"] == "You are a pirate."
    again, plan = bring_in(library, source, name="support-bot", limits=DEFAULT)
    assert (again.id, plan.ready) == (version.id, True)


def test_what_is_not_in_the_instance_is_told(both: tuple[Library, Instance]) -> None:
    library, _ = both
    with pytest.raises(NotFound, match="instance both has no nosuch"):
        bring_in(library, saving.source_in(library, P, InstanceUri(BOTH, OllamaName.parse("nosuch:v1")), None))


def _serves(library: Library, instance: Instance) -> list[tuple[Version, ServedName]]:
    with library.catalog.reading() as connection:
        return [(versions.get(connection, P, one.version_id), one.served_name) for one in instance.serves]


def test_a_gguf_answers_under_the_manifest_that_is_made_of_it(ollama: Library, gemma: Path, minilm: dict[str, Path]) -> None:
    """Chat and embedding side by side, each listed with the digest that its version means."""
    serves = []
    for category, file in {"chat": gemma, "embedding": minilm["embedding"]}.items():
        version, _ = bring_in(ollama, FolderSource(FolderUri(file)), name=category, category=category, limits=DEFAULT)
        serves.append((version, ServedName(category)))
    instance = launch_all(ollama, InstanceName("ggufs"), tuple(serves), REQUEST)
    said = ask(instance, "/api/generate", {"model": "chat", "prompt": "The capital of France is", **SHORT})
    assert said["response"]
    (vector,) = ask(instance, "/api/embed", {"model": "embedding", "input": "hello"})["embeddings"]  # type: ignore[misc]
    assert len(vector) == 384
    own = own_folder(ollama, instance) / "models" / "blobs"
    large = [blob for blob in own.iterdir() if blob.stat().st_size > 1_000_000]
    assert all(blob.stat().st_nlink >= 3 for blob in large), "links to store and replica, no copies"


def test_what_it_starts_ends_with_it_also_when_its_first_process_was_killed(both: tuple[Library, Instance]) -> None:
    library, instance = both
    ask(instance, "/api/generate", {"model": str(instance.serves[0].served_name), "prompt": "x", "stream": False})
    members = node_of(library).members(instance.label)
    assert len(members) > 1, "it runs models in processes of their own"
    os.kill(members[0].pid, signal.SIGKILL)
    until(lambda: not processes.alive(members[0]))
    running.stop_instance(library, P, BOTH, "test")
    assert [one for one in members if processes.alive(one)] == []


def test_a_model_whose_process_was_killed_is_ready_because_the_next_request_starts_it_again(
    both: tuple[Library, Instance],
) -> None:
    library, instance = both
    question: dict[str, object] = {"model": str(instance.serves[0].served_name), "prompt": "The capital of France is", **SHORT}
    assert ask(instance, "/api/generate", question)["response"]
    first, *children = node_of(library).members(instance.label)
    assert children, "it runs models in processes of their own"
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    until(lambda: not any(processes.alive(child) for child in children))
    assert running.seen_state(library, instance) == ("ready", None)
    assert prove.listing_differs(library, P, instance) is None
    assert ask(instance, "/api/generate", question)["response"]
    now = node_of(library).members(instance.label)
    assert now[0] == first, "the instance went on"
    assert set(now[1:]).isdisjoint(children)
    assert now[1:], "it has a new process"


def test_it_asks_nobody(both: tuple[Library, Instance]) -> None:
    """From 0.24 on it asks ollama.com at its start, unless it is forbidden."""
    _, instance = both
    answer = Wire().request("GET", Url(f"http://127.0.0.1:{instance.port}/api/status"))
    if answer.status != 404:  # 0.6.5 has no cloud
        assert answer.json()["cloud"]["disabled"] is True
