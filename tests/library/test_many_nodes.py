"""Three nodes in two regions on one catalog: content is copied where it lacks, once into a region, and each node looks after itself.

Each home is a node with a store of its own; all are on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from flows.launch_instance import launch_instance
from flows.reconcile import reconcile
from modelshelf.catalog import blobs, holdings, instances, replicas, versions
from modelshelf.catalog.versions import Version
from modelshelf.crash_points import Point
from modelshelf.digest import Digest
from modelshelf.errors import ContentElsewhere, DigestMismatch, OtherHome, OtherNode, StillInUse
from modelshelf.library import auditing, building, caching, copying, deleting, running
from modelshelf.library.opening import Library, migrate
from modelshelf.names import InstanceName, NodeName
from modelshelf.settings import Settings
from modelshelf.stop import StopToken
from tests.library.test_launch import with_engine
from tests.making import P, bring_in, gguf, ollama_source, reaching
from tests.project.test_instances import run
from tests.stand_ins import postgres
from tests.stand_ins.ollama_registry import OllamaRegistry

WEIGHTS = gguf(300_000)


@dataclass
class Fleet:
    """`eu1` and `eu2` are in one region, `us1` in another."""

    folder: Path
    catalog_url: str
    all: list[Library] = field(default_factory=list)

    def join(self, name: str, region: str) -> Library:
        settings = Settings(self.folder / name, self.catalog_url, node_name=NodeName(name), region=region)
        migrate(settings)
        self.all.append(with_engine(Library.open(settings), self.folder))
        return self.all[-1]

    @property
    def eu1(self) -> Library:
        return self.all[0]

    @property
    def eu2(self) -> Library:
        return self.all[1]

    @property
    def us1(self) -> Library:
        return self.all[2]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.live)])
def fleet(request: pytest.FixtureRequest, tmp_path: Path, empty_catalog: Path) -> Iterator[Fleet]:
    if request.param == "sqlite":
        shutil.copy(empty_catalog, tmp_path / "shared.db")
        url = f"sqlite:///{tmp_path / 'shared.db'}"
    else:
        url = postgres.new_database(request.getfixturevalue("postgres_server"))
    made = Fleet(tmp_path, url)
    for name, region in (("eu1", "eu-1"), ("eu2", "eu-1"), ("us1", "us-1")):
        made.join(name, region)
    yield made
    for library in made.all:
        for label in library.node.look():
            library.node.stop(label, 5)
        library.catalog.close()


@pytest.fixture
def tiny(fleet: Fleet, registry: OllamaRegistry) -> Version:
    """Imported on `eu1`."""
    registry.add_model("library/tiny", "1b", WEIGHTS, template="t")
    return bring_in(fleet.eu1, ollama_source(registry))[0]


def fill(library: Library, version: Version) -> Path:
    return caching.fill(library, P, version, StopToken())


def holders(library: Library, version: Version) -> list[str]:
    assert version.image is not None
    with library.catalog.reading() as connection:
        return [one.name for one in holdings.holders(connection, version.image)]


def audit(library: Library, *, repair: bool = False) -> list[str]:
    found = auditing.audit(library, StopToken(), rehash="all", repair=repair, who="test", grace_seconds=0)
    return [one.kind for one in found]


def test_a_node_gets_what_another_imported_without_its_publisher(fleet: Fleet, registry: OllamaRegistry, tiny: Version) -> None:
    asked = len(registry.requests)
    folder = fill(fleet.us1, tiny)
    assert len(registry.requests) == asked
    assert WEIGHTS in [one.read_bytes() for one in folder.rglob("*") if one.is_file()]
    assert holders(fleet.us1, tiny) == ["eu1", "us1"]
    assert [audit(library) for library in fleet.all] == [[], [], []]


def test_content_that_is_there_is_not_copied_again(fleet: Fleet, registry: OllamaRegistry, tiny: Version) -> None:
    fill(fleet.eu2, tiny)
    registry.add_model("library/tiny", "1b", WEIGHTS, template="another")
    second = bring_in(fleet.eu1, ollama_source(registry))[0]
    copied: list[int] = []
    copying.bring_content(fleet.eu2, second, StopToken(), copied.append)
    assert 0 < sum(copied) < len(WEIGHTS)


def test_a_region_gets_it_once_and_its_other_nodes_from_there(fleet: Fleet, tiny: Version) -> None:
    fill(fleet.us1, tiny)
    shutil.rmtree(fleet.eu1.settings.store / "blobs")  # whoever asks eu1 from now on fails
    other = fleet.join("us2", "us-1")
    fill(other, tiny)
    assert holders(other, tiny) == ["eu1", "us1", "us2"]


def test_two_nodes_of_a_region_that_ask_at_once_move_the_bytes_between_regions_once(fleet: Fleet, tiny: Version) -> None:
    other = fleet.join("us2", "us-1")
    with ThreadPoolExecutor(2) as pool:
        sources = list(pool.map(lambda one: copying.bring_content(one, tiny, StopToken()), (fleet.us1, other)))
    assert sorted(source.region for source in sources if source is not None) == ["eu-1", "us-1"]
    assert sorted(holders(other, tiny)) == ["eu1", "us1", "us2"]


@pytest.mark.parametrize("point", ["copy.arrived", "copy.recorded", "commit.renamed"])
def test_a_copy_that_died_is_completed_by_the_next_and_nothing_is_left_over(fleet: Fleet, tiny: Version, point: Point) -> None:
    class Died(BaseException): ...

    def die() -> None:
        raise Died

    with reaching(point, die), pytest.raises(Died):
        fill(fleet.us1, tiny)
    assert holders(fleet.us1, tiny) == (["eu1", "us1"] if point == "copy.recorded" else ["eu1"])
    fill(fleet.us1, tiny)
    assert holders(fleet.us1, tiny) == ["eu1", "us1"]
    assert audit(fleet.us1) == []
    assert list(fleet.us1.store.arriving()) == []


def test_a_store_that_lies_is_found_out_and_nothing_is_kept(fleet: Fleet, tiny: Version) -> None:
    path = fleet.eu1.settings.store / "blobs" / "sha256" / Digest.of(WEIGHTS).hex
    path.chmod(0o644)
    path.write_bytes(WEIGHTS[:-1] + b"x")
    with pytest.raises(DigestMismatch):
        fill(fleet.us1, tiny)
    assert fleet.us1.store.sizes([Digest.of(WEIGHTS)]) == {}
    assert holders(fleet.us1, tiny) == ["eu1"]


def test_a_store_that_cannot_be_reached_is_named(fleet: Fleet, tiny: Version) -> None:
    with fleet.eu1.catalog.writing() as connection:
        connection.execute(text("UPDATE store SET host = 'another machine' WHERE name = 'eu1'"))
    with pytest.raises(ContentElsewhere, match=r"eu1 \(region eu-1\)"):
        fill(fleet.us1, tiny)
    shutil.rmtree(fleet.eu1.settings.store)
    with fleet.eu1.catalog.writing() as connection:
        connection.execute(text("UPDATE store SET host = NULL WHERE name = 'eu1'"))
    with pytest.raises(ContentElsewhere):
        fill(fleet.us1, tiny)


def test_what_one_node_lost_another_brings_back_and_the_version_stays_ready(fleet: Fleet, tiny: Version) -> None:
    fill(fleet.us1, tiny)
    path = fleet.us1.settings.store / "blobs" / "sha256" / Digest.of(WEIGHTS).hex
    path.chmod(0o644)
    path.write_bytes(WEIGHTS[:-1] + b"x")
    assert "blob damaged" in audit(fleet.us1, repair=True)
    with fleet.us1.catalog.reading() as connection:
        assert versions.find(connection, P, tiny.ref).state == "ready"
    assert holders(fleet.us1, tiny) == ["eu1"]
    fill(fleet.us1, tiny)
    assert [audit(library) for library in fleet.all] == [[], [], []]


def test_a_version_that_no_store_holds_whole_any_more_is_failed(fleet: Fleet, tiny: Version) -> None:
    path = fleet.eu1.settings.store / "blobs" / "sha256" / Digest.of(WEIGHTS).hex
    path.unlink()
    audit(fleet.eu1, repair=True)
    with fleet.us1.catalog.reading() as connection:
        assert versions.find(connection, P, tiny.ref).state == "failed"


def test_a_deleted_version_goes_from_every_node_at_its_next_look(fleet: Fleet, tiny: Version) -> None:
    folder = fill(fleet.us1, tiny)
    deleting.delete_version(fleet.eu1, P, tiny.ref, who="test")
    assert list(fleet.eu1.store.stored()) == []
    assert folder.exists()
    run(fleet.us1, reconcile.fn())
    assert not folder.exists()
    assert list(fleet.us1.store.stored()) == []
    with fleet.us1.catalog.reading() as connection:
        assert blobs.condemned(connection, fleet.us1.store_id) == []


def test_what_another_node_serves_is_not_deleted(fleet: Fleet, tiny: Version) -> None:
    launch(fleet.us1, tiny)
    with pytest.raises(StillInUse, match="instance chat"):
        deleting.delete_version(fleet.eu1, P, tiny.ref, who="test")


def test_an_instance_of_another_node_is_shown_as_recorded_and_touched_only_there(fleet: Fleet, tiny: Version) -> None:
    made = launch(fleet.us1, tiny)
    assert running.seen_state(fleet.eu1, made) == ("ready", None)
    for touch in (running.stop_instance, running.delete_instance):
        with pytest.raises(OtherNode, match="us1 is another machine"):
            touch(fleet.eu1, P, InstanceName("chat"), "test")
    with pytest.raises(OtherNode):
        launch(fleet.eu1, tiny)
    assert running.is_running(fleet.us1, made)


def test_each_nodes_look_records_only_what_is_its_own(fleet: Fleet, tiny: Version) -> None:
    fill(fleet.us1, tiny)
    run(fleet.eu1, reconcile.fn())
    run(fleet.eu2, reconcile.fn())
    with fleet.eu1.catalog.reading() as connection:
        assert [(str(one.node), one.observed) for one in replicas.of_version(connection, tiny.id)] == [("us1", "present")]


def test_an_image_is_built_on_a_node_that_lacks_it(fleet: Fleet, tiny: Version, tmp_path: Path) -> None:
    plan = building.plan_build(fleet.us1, P, tiny.ref, tmp_path / "image")
    building.build(fleet.us1, P, plan, StopToken())
    assert (tmp_path / "image" / "index.json").exists()


def test_a_node_is_not_joined_under_the_name_of_another(fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(OtherHome, match="node of your own"):
        migrate(Settings(tmp_path / "other", fleet.eu1.settings.catalog_url, node_name=NodeName("eu1")))


def launch(library: Library, version: Version) -> instances.Instance:
    run(library, launch_instance.fn(model=str(version.ref), instance="chat", engine="llamacpp"))
    with library.catalog.reading() as connection:
        return instances.find(connection, P, InstanceName("chat"))


def test_every_node_is_listed_with_what_it_recorded_of_itself(fleet: Fleet, tiny: Version) -> None:
    fill(fleet.us1, tiny)
    launch(fleet.us1, tiny)
    shown = command(fleet.eu1, "nodes", "--json")
    assert [(one["node"], one["region"]) for one in shown] == [("eu1", "eu-1"), ("eu2", "eu-1"), ("us1", "us-1")]
    assert (shown[2]["replicas"], shown[2]["used"], shown[2]["instances"]) == (1, tiny.size, 1)
    (listed,) = command(fleet.eu1, "ps", "--json")
    assert (listed["node"], listed["state"]) == ("us1", "ready")


def command(library: Library, *arguments: str) -> list[dict[str, Any]]:
    settings = library.settings
    settings.config_file.write_text(
        f'node = "{settings.node_name}"\nregion = "{settings.region}"\ncatalog_url = "{settings.catalog_url}"\n'
    )
    program = str(Path(sys.executable).with_name("modelshelf"))
    environment = {**os.environ, "MODELSHELF_HOME": str(settings.home)}
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))
