"""An import never gives a name to another publisher's weights."""

from __future__ import annotations

import pytest

from modelshelf.catalog import aliases, blobs, versions
from modelshelf.catalog.database import Catalog
from modelshelf.catalog.leases import Lease
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import OtherBranch, OtherPublisher
from modelshelf.names import ModelName, ModelRef, ProjectName, Tag
from modelshelf.publishers import branch_of, publisher_of
from tests.catalog.test_versions import image

A = ProjectName("a")


def bring(catalog: Catalog, source: str, tag: str, seed: int, name: str = "x") -> Version:
    """The catalog's half of an import: reserve, then publish."""
    resolved = Digest.of(f"{seed}".encode()).hex
    with catalog.writing() as connection:
        store = blobs.store_id(connection, "local", region="here", kind="directory")
        target = versions.reserve(
            connection,
            A,
            ModelName(name),
            Tag(f"{tag}-{resolved[:8]}"),
            source=source,
            resolved=resolved,
            category="chat",
            tag=Tag(tag),
        )
    return publish(catalog, target, tag, seed, store)


def publish(catalog: Catalog, target: Version, tag: str, seed: int, store: int) -> Version:
    lease = Lease(target.lease, "test")
    with catalog.writing() as connection:
        assert lease.acquire(connection)
        return versions.publish(
            connection, A, target, image(seed), lease=lease, store_id=store, license=None, tag=Tag(tag), who="test"
        )


def named(catalog: Catalog, text: str) -> Version:
    with catalog.reading() as connection:
        return versions.find(connection, A, ModelRef.parse(text))


@pytest.mark.parametrize(
    ("source", "publisher"),
    [
        ("hf://Qwen/Qwen3-0.6B-GGUF:Q8_0", "hf://Qwen"),
        ("hf://org/repo@refs/pr/1:Q4", "hf://org"),
        ("hf://gpt2@main", "hf://gpt2"),
        ("ollama://qwen3:0.6b", "ollama://library"),
        ("ollama://someone/qwen3:0.6b", "ollama://someone"),
        ("ollama://registry.example:5000/team/sub/qwen3:1", "ollama://registry.example:5000/team/sub"),
        ("ollama://hf.co/org/repo:Q4_K_M", "hf://org"),
        ("file:///models/x.gguf", "local"),
        ("fs://shared/models/x", "local"),
        ("instance://chat-1/bot:v1", "local"),
    ],
)
def test_the_publisher_is_the_part_of_a_source_that_only_its_publisher_can_write_to(source: str, publisher: str) -> None:
    assert publisher_of(source) == publisher


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("hf://trusted/x", "hf://someone/x"),
        ("ollama://x:1", "ollama://someone/x:1"),
        ("ollama://registry.example/library/x:1", "ollama://x:1"),
        ("hf://trusted/x", "file:///tmp/x"),
    ],
)
def test_an_import_of_another_publisher_is_refused_before_anything_is_reserved_and_names_the_way_out(
    catalog: Catalog, first: str, second: str
) -> None:
    mine = bring(catalog, first, "1", seed=1)
    with pytest.raises(OtherPublisher, match=r"--name [a-z0-9.-]+-x") as refusal:
        bring(catalog, second, "1", seed=2)
    assert named(catalog, "x:1").id == mine.id
    with catalog.reading() as connection:
        assert [one.id for one in versions.page(connection, A)] == [mine.id]
    example = str(refusal.value).partition("--name ")[2].partition("`")[0]
    other = bring(catalog, second, "1", seed=2, name=example)
    assert named(catalog, f"{example}:1").id == other.id


def test_a_tag_that_its_own_publisher_moved_moves_the_alias(catalog: Catalog) -> None:
    bring(catalog, "hf://trusted/x", "main", seed=1)
    moved = bring(catalog, "hf://trusted/x", "main", seed=2)
    assert named(catalog, "x:main").id == moved.id


def test_two_imports_at_once_of_two_publishers_give_the_name_to_the_first_that_publishes(catalog: Catalog) -> None:
    targets = []
    for seed, source in ((1, "ollama://x:1"), (2, "ollama://someone/x:1")):
        resolved = Digest.of(f"{seed}".encode()).hex
        with catalog.writing() as connection:
            store = blobs.store_id(connection, "local", region="here", kind="directory")
            target = versions.reserve(
                connection, A, ModelName("x"), Tag(f"1-{resolved[:8]}"), source=source, resolved=resolved, category="chat"
            )
        targets.append(target)
    first = publish(catalog, targets[0], "1", 1, store)
    with pytest.raises(OtherPublisher):
        publish(catalog, targets[1], "1", 2, store)
    assert named(catalog, "x:1").id == first.id
    assert named(catalog, f"x:{targets[1].name}").state == "registered"


def test_latest_of_another_publisher_does_not_become_what_the_bare_name_means(catalog: Catalog) -> None:
    mine = bring(catalog, "ollama://x:1", "1", seed=1)
    with pytest.raises(OtherPublisher):
        bring(catalog, "ollama://someone/x", "latest", seed=2)
    assert named(catalog, "x").id == mine.id


def test_a_person_may_give_a_name_to_any_publishers_version(catalog: Catalog) -> None:
    bring(catalog, "hf://trusted/x", "main", seed=1)
    other = bring(catalog, "hf://someone/x", "v2", seed=2)
    with catalog.writing() as connection:
        aliases.move(connection, A, other, Tag("main"), who="me", held=True)
    assert named(catalog, "x:main").publisher == "hf://someone"


@pytest.mark.parametrize(
    ("source", "branch"),
    [
        ("hf://org/repo", "main"),
        ("hf://org/repo:Q4_K_M", "main"),
        ("hf://org/repo@a/b:Q4_K_M", "a/b"),
        ("hf://org/repo@v@1", "v@1"),
        ("ollama://x:1", None),
        ("file:///models/a@b", None),
    ],
)
def test_the_branch_is_what_the_source_spells(source: str, branch: str | None) -> None:
    assert branch_of(source) == branch


def test_an_alias_that_two_branches_share_stays_with_the_first(catalog: Catalog) -> None:
    first = bring(catalog, "hf://org/x@a/b", "a-b", seed=1)
    with pytest.raises(OtherBranch, match=r"names a version of the branch a/b, .* of the branch a-b.*--name x-a-b") as refusal:
        bring(catalog, "hf://org/x@a-b", "a-b", seed=2)
    assert "`modelshelf alias x a-b --remove`" in str(refusal.value)
    assert named(catalog, "x:a-b").id == first.id
    with catalog.reading() as connection:
        assert [str(one.name) for one in versions.of_model(connection, A, ModelName("x"))] == [str(first.name)]
    moved = bring(catalog, "hf://org/x@a/b", "a-b", seed=3)
    assert named(catalog, "x:a-b").id == moved.id, "its own branch moves it"


def test_of_two_branches_that_are_imported_at_once_the_alias_is_the_first_ones(catalog: Catalog) -> None:
    with catalog.writing() as connection:
        store = blobs.store_id(connection, "local", region="here", kind="directory")
        resolved = Digest.of(b"2").hex
        reserved = versions.reserve(
            connection, A, ModelName("x"), Tag(f"a-b-{resolved[:8]}"), source="hf://org/x@a-b", resolved=resolved, category="chat",
            tag=Tag("a-b"),
        )  # fmt: skip
    first = bring(catalog, "hf://org/x@a/b", "a-b", seed=1)
    with pytest.raises(OtherBranch):
        publish(catalog, reserved, "a-b", 2, store)
    assert named(catalog, "x:a-b").id == first.id


def test_a_quantisation_and_a_branch_that_spell_one_alias_are_two_branches(catalog: Catalog) -> None:
    bring(catalog, "hf://org/x@dev:q8", "dev-q8", seed=1)
    with pytest.raises(OtherBranch):
        bring(catalog, "hf://org/x@dev-q8", "dev-q8", seed=2)
