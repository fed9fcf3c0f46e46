from __future__ import annotations

import pytest
from sqlalchemy import select, update

from modelshelf.catalog import places, versions
from modelshelf.catalog.database import Catalog
from modelshelf.catalog.leases import Lease
from modelshelf.catalog.places import Place
from modelshelf.catalog.tables import lease as lease_table
from modelshelf.catalog.tables import place_file
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import LeaseLost, NotReady
from modelshelf.formats.image import PlacedFile
from modelshelf.formats.kinds import Facts, Format, Role
from modelshelf.names import FilePath, FilesystemName, ModelName, ModelRef, Tag
from tests.making import P

AT = Place(
    FilesystemName("shared"),
    "eu",
    FilePath("models/m"),
    (
        PlacedFile(FilePath("config.json"), Role.CONFIG, 2, 1, None),
        PlacedFile(FilePath("m.safetensors"), Role.WEIGHT, 40, 1_700_000_000_000_000_001, Digest.of(b"m")),
    ),
)


def reserved(catalog: Catalog) -> tuple[Version, Lease]:
    with catalog.writing() as connection:
        made = versions.reserve(
            connection, P, ModelName("m"), Tag("folder-0"), source="fs://shared/m", resolved="0", category="chat"
        )
        lease = Lease(made.lease, "test")
        assert lease.acquire(connection)
    return made, lease


def published(catalog: Catalog, made: Version, lease: Lease) -> Version:
    with catalog.writing() as connection:
        return places.publish(
            connection, P, made, AT, format=Format.SAFETENSORS, facts=Facts("llama", 7), license="mit", lease=lease,
            tag=Tag("folder"), who="test",
        )  # fmt: skip


def test_what_lies_in_place_is_listed_as_it_was_registered(catalog: Catalog) -> None:
    version = published(catalog, *reserved(catalog))
    assert (version.state, version.image, version.size, version.region) == ("ready", None, 42, "eu")
    assert (version.facts, version.license, version.aliases) == (Facts("llama", 7), "mit", (Tag("folder"),))
    with catalog.reading() as connection:
        assert places.of(connection, version) == AT
        assert places.files(connection, P, version) == AT.files
        assert [(one.id, at) for one, at in places.everywhere(connection)] == [(version.id, AT)]
        assert versions.page(connection, P) == [version]


def test_a_damaged_one_is_not_ready_and_can_be_registered_again(catalog: Catalog) -> None:
    made, lease = reserved(catalog)
    version = published(catalog, made, lease)
    with catalog.writing() as connection:
        versions.reopen(connection, P, version, "a file was changed", "test")
        failed = versions.find(connection, P, ModelRef.parse("m:folder"))
        assert (failed.state, failed.in_place, list(places.everywhere(connection))) == ("failed", False, [])
        with pytest.raises(NotReady, match="a file was changed"):
            versions.require_ready(failed)
    assert published(catalog, made, lease).in_place


def test_nothing_is_listed_under_a_lease_that_lapsed(catalog: Catalog) -> None:
    made, lease = reserved(catalog)
    with catalog.writing() as connection:
        connection.execute(update(lease_table).values(expires=0))
    with pytest.raises(LeaseLost):
        published(catalog, made, lease)
    with catalog.reading() as connection:
        assert (versions.get(connection, P, made.id).state, list(places.everywhere(connection))) == ("registered", [])


def test_with_the_version_goes_its_place(catalog: Catalog) -> None:
    version = published(catalog, *reserved(catalog))
    with catalog.writing() as connection:
        versions.remove(connection, P, version, "test")
        assert connection.execute(select(place_file)).all() == []
