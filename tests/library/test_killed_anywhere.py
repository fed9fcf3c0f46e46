"""SIGKILL before any operation on a disk or a catalog, named or not; then the same command again: it ends well, nothing is left over.

Promise 3. Of each verb some instants are tried, spread over all; MODELSHELF_EVERY_OPERATION=1 tries each of them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from modelshelf.catalog import aliases, blobs, instances, templates, versions
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import StillInUse
from modelshelf.library import auditing
from modelshelf.library.opening import Library, migrate
from modelshelf.names import InstanceName, ModelName, ModelRef
from modelshelf.settings import Settings
from modelshelf.stop import StopToken
from tests.interrupted import Children
from tests.library import verbs
from tests.making import P, gguf, record_instance, write
from tests.nodes.local import own_folder
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live
WEIGHTS, NEXT = gguf(200_000), gguf(200_000, seed=1)
ENGINE = Path(__file__).parent.parent / "stand_ins" / "engine.py"
TRIED = 10_000 if os.environ.get("MODELSHELF_EVERY_OPERATION") else 9


class Shelf:
    """A library that begins anew for each kill."""

    def __init__(self, home: Path, registry: OllamaRegistry, children: Children) -> None:
        self.home, self.registry, self.children = home, registry, children
        self.to = str(home.parent / "image")
        self.library: Library

    def end_engines(self) -> None:
        for label in self.library.node.look():
            self.library.node.stop(label, 5)

    def lose_replica(self) -> None:
        for folder in (self.home / "node" / "replicas").iterdir():
            shutil.rmtree(folder)

    def begin(self, *before: str) -> None:
        if hasattr(self, "library"):
            self.end_engines()
        for folder in (self.home, Path(self.to), self.home.parent / "shared"):
            shutil.rmtree(folder, ignore_errors=True)
        self.home.mkdir()
        shutil.copy(self.home.parent / "empty.db", self.home / "catalog.db")
        migrate(Settings(self.home, f"sqlite:///{self.home / 'catalog.db'}"))
        self.library = verbs.library_at(self.home)
        for verb in before:
            if hasattr(self, verb):
                getattr(self, verb)()
            else:
                getattr(verbs, verb)(self.library, self.registry.host)

    def folder(self) -> None:
        """A folder of a model, on a filesystem."""
        write(self.home.parent / "shared" / "mine" / "model.gguf", WEIGHTS)

    def keeper(self) -> None:
        """An Ollama instance that does not run, in which a model was made with the weights of `tiny`."""
        manifest = self.registry.add_model("library/pirate", "v1", WEIGHTS, template="a pirate's")
        with self.library.catalog.writing() as connection:
            (tiny,) = versions.page(connection, P)
            made = record_instance(connection, self.library.node_id, tiny, "keeper", engine="ollama")
            instances.change(connection, made.id, state="stopped")
        models = own_folder(self.library, made) / "models"
        write(models / "manifests/registry.ollama.ai/library/pirate/v1", manifest)
        named = json.loads(manifest)
        for part in (named["config"], *named["layers"]):
            blob = self.registry.blobs[part["digest"]]
            write(models / "blobs" / part["digest"].replace(":", "-"), blob.read(0, blob.size))

    def orphan(self) -> None:
        """No alias holds the version any more: a clean-up may take it."""
        with self.library.catalog.writing() as connection:
            connection.execute(text("DELETE FROM alias"))

    def damage(self) -> None:
        path = self.library.store.path_of(Digest.of(WEIGHTS))
        path.chmod(0o644)
        path.write_bytes(WEIGHTS[:-1] + b"x")

    def lapse_leases(self) -> None:
        with self.library.catalog.writing() as connection:
            connection.execute(text("UPDATE lease SET expires = 0"))

    def check_tidy(self) -> None:
        """Nothing lies about: no arrival, no half replica, no hold, no mark, no blob that nobody knows, no wrong byte."""
        assert list((self.library.store.root / "ingest").iterdir()) == []
        assert [one.name for one in (self.home / "node" / "replicas").iterdir() if one.name.startswith(".")] == []
        assert [one.name for one in self.home.parent.iterdir() if one.name.startswith(".image")] == []
        findings = auditing.audit(self.library, StopToken(), rehash="all", repair=False, who="test", grace_seconds=0)
        assert findings == []
        with self.library.catalog.reading() as connection:
            assert blobs.condemned(connection, self.library.store_id) == []
            ready = [one for one in versions.page(connection, P) if one.state == "ready"]
            holds = connection.execute(text("SELECT count(*) FROM hold")).scalar()
        assert holds == 0 or not ready

    def state(self) -> str:
        with self.library.catalog.reading() as connection:
            return ", ".join(one.state for one in versions.page(connection, P))


@pytest.fixture
def shelf(tmp_path: Path, empty_catalog: Path, registry: OllamaRegistry) -> Iterator[Shelf]:
    registry.add_model("library/tiny", "1b", WEIGHTS, template="a template")
    registry.add_model("library/tiny", "2b", NEXT, template="a template")
    shutil.copy(empty_catalog, tmp_path / "empty.db")
    (tmp_path / "llama-server").write_text(f"#!{sys.executable}\n{ENGINE.read_text()}")
    (tmp_path / "llama-server").chmod(0o755)
    with Children(tmp_path / "home", registry.host) as children:
        made = Shelf(tmp_path / "home", registry, children)
        yield made
        made.end_engines()


CASES: dict[str, tuple[tuple[str, ...], str, Callable[[Shelf], None]]] = {}
"""By verb: what was done before, with which error the second try may end because the first one had done all, and what is true then."""


def case(verb: str, *before: str, done: str = "") -> Callable[[Callable[[Shelf], None]], Callable[[Shelf], None]]:
    def noted(check: Callable[[Shelf], None]) -> Callable[[Shelf], None]:
        CASES[verb] = (before, done, check)
        return check

    return noted


@case("bring")
def _(shelf: Shelf) -> None:
    assert shelf.state() == "ready"


@case("cache", "bring")
def _(shelf: Shelf) -> None:
    assert len(list((shelf.home / "node" / "replicas").glob("*/complete.json"))) == 1


@case("evict", "bring", "cache", done="NoReplica")
def _(shelf: Shelf) -> None:
    assert (shelf.state(), list((shelf.home / "node" / "replicas").glob("*/complete.json"))) == ("ready", [])


@case("delete", "bring", "cache", done="NoSuchModel")
def _(shelf: Shelf) -> None:
    assert (shelf.state(), list(shelf.library.store.stored())) == ("", [])


@case("clean", "bring", "cache", "orphan")
def _(shelf: Shelf) -> None:
    assert (shelf.state(), list(shelf.library.store.stored())) == ("", [])


def engines(shelf: Shelf) -> tuple[str, int]:
    """The instance's state as its row has it, and how many engines run on the node."""
    with shelf.library.catalog.reading() as connection:
        found = instances.lookup(connection, P, InstanceName("chat"))
    return found.state if found is not None else "none", len(list(shelf.library.node.look()))


@case("launch", "bring")
def _(shelf: Shelf) -> None:
    assert engines(shelf) == ("ready", 1)


@case("restart", "bring", "launch")
def _(shelf: Shelf) -> None:
    assert engines(shelf) == ("ready", 1)


@case("stop", "bring", "launch")
def _(shelf: Shelf) -> None:
    assert engines(shelf) == ("stopped", 0)


@case("recover", "bring", "launch", "end_engines")
def _(shelf: Shelf) -> None:
    assert engines(shelf) == ("ready", 1)


@case("refill", "bring", "cache", "lose_replica")
def _(shelf: Shelf) -> None:
    assert len(list((shelf.home / "node" / "replicas").glob("*/complete.json"))) == 1


@case("remove_instance", "bring", "launch", done="NoSuchInstance")
def _(shelf: Shelf) -> None:
    assert engines(shelf) == ("none", 0)
    assert list((shelf.home / "node" / "instances").iterdir()) == []


def served(shelf: Shelf) -> list[str]:
    """The tags of the version that the instance serves, by its row, and by what its engine was given."""
    with shelf.library.catalog.reading() as connection:
        chat = instances.find(connection, P, InstanceName("chat"))
        assert instances.held(connection, chat) == instances.using(chat), "it holds nothing else"
        now = versions.get(connection, P, chat.serves[0].version_id)
    assert now.image is not None
    assert now.image.hex in " ".join(chat.command)
    return [str(one) for one in now.aliases]


@case("switch", "bring", "bring_next", "launch")
def _(shelf: Shelf) -> None:
    assert (*engines(shelf), served(shelf)) == ("ready", 1, ["2b"])


@case("switch_back", "bring", "bring_next", "launch", "switch")
def _(shelf: Shelf) -> None:
    assert (*engines(shelf), served(shelf)) == ("ready", 1, ["1b"])


@case("forget", "bring", "bring_next", "launch", "switch")
def _(shelf: Shelf) -> None:
    assert (*engines(shelf), served(shelf)) == ("ready", 1, ["2b"])
    verbs.delete(shelf.library, "", "tiny:1b")


@case("copy_folder", "folder")
def _(shelf: Shelf) -> None:
    assert (shelf.state(), Digest.of(WEIGHTS) in {one.digest for one in shelf.library.store.stored()}) == ("ready", True)


@case("register", "folder")
def _(shelf: Shelf) -> None:
    assert (shelf.state(), list(shelf.library.store.stored())) == ("ready", [])


@case("save", "bring", "keeper")
def _(shelf: Shelf) -> None:
    assert (version(shelf, "pirate:v1").state, shelf.state()) == ("ready", "ready, ready")


def version(shelf: Shelf, name: str = "tiny:1b") -> Version:
    with shelf.library.catalog.reading() as connection:
        return versions.find(connection, P, ModelRef.parse(name))


def revisions(shelf: Shelf) -> int:
    """How many revisions the template has, none of them double; 0 if there is no template."""
    with shelf.library.catalog.reading() as connection:
        newest = [one.number for one in templates.page(connection, P)]
        many = int(connection.execute(text("SELECT count(*) FROM template_revision")).scalar_one())
    assert newest == ([many] if many else [])
    return many


@case("define", "bring")
def _(shelf: Shelf) -> None:
    assert revisions(shelf) == 1


@case("define_again", "bring", "define")
def _(shelf: Shelf) -> None:
    assert revisions(shelf) == 2


@case("remove_template", "bring", "define", "define_again", done="NoSuchTemplate")
def _(shelf: Shelf) -> None:
    assert revisions(shelf) == 0


def stable(shelf: Shelf) -> list[str]:
    """What the alias `stable` named after each of its moves, the last one first."""
    with shelf.library.catalog.reading() as connection:
        history = aliases.history(connection, P, ModelName("tiny"))
    return [str(one.after).partition("-")[0] for one in history if one.alias == "stable"]


@case("promote", "bring", "bring_next", "promote_first")
def _(shelf: Shelf) -> None:
    assert (stable(shelf), version(shelf, "tiny:stable")) == (["2b", "1b"], version(shelf, "tiny:2b"))


@case("roll_back", "bring", "bring_next", "promote_first", "promote")
def _(shelf: Shelf) -> None:
    assert (stable(shelf), version(shelf, "tiny:stable")) == (["1b", "2b", "1b"], version(shelf, "tiny:1b"))


@case("unalias", "bring", "promote_first", done="NoSuchModel")
def _(shelf: Shelf) -> None:
    assert (stable(shelf), [str(one) for one in version(shelf).aliases]) == (["None", "1b"], ["1b"])


@case("disable", "bring")
def _(shelf: Shelf) -> None:
    assert version(shelf).disabled


@case("enable", "bring", "disable")
def _(shelf: Shelf) -> None:
    assert not version(shelf).disabled


@case("categorise", "bring")
def _(shelf: Shelf) -> None:
    assert version(shelf).category == "embedding"


@case("pin", "bring", "cache")
def _(shelf: Shelf) -> None:
    with pytest.raises(StillInUse, match="pinned"):
        verbs.evict(shelf.library, "")


@case("unpin", "bring", "cache", "pin")
def _(shelf: Shelf) -> None:
    verbs.evict(shelf.library, "")


def everywhere(shelf: Shelf) -> list[int]:
    """The ids of the versions that are to be on every node."""
    with shelf.library.catalog.reading() as connection:
        return [one.id for one in versions.to_cache_everywhere(connection)]


@case("auto_cache", "bring", "bring_next")
def _(shelf: Shelf) -> None:
    assert everywhere(shelf) == [version(shelf).id]


@case("no_auto_cache", "bring", "auto_cache")
def _(shelf: Shelf) -> None:
    assert everywhere(shelf) == []


@case("warm_up", "bring", "bring_next", "auto_cache")
def _(shelf: Shelf) -> None:
    assert list(shelf.library.node.replicas.list()) == [version(shelf).image]
    assert len(list((shelf.home / "node" / "replicas").glob("*/complete.json"))) == 1


@case("repair", "bring", "damage")
def _(shelf: Shelf) -> None:
    assert shelf.state() == "failed"


@case("build", "bring", done="NotAnEmptyFolder")
def _(shelf: Shelf) -> None:
    assert (Path(shelf.to) / "index.json").exists()


@pytest.mark.parametrize("verb", CASES)
def test_killed_before_any_operation_the_same_command_again_ends_well_and_nothing_is_left_over(
    shelf: Shelf, verb: str, record_property: Callable[[str, object], None]
) -> None:
    before, done, check = CASES[verb]
    name = f"tests.library.verbs:{verb}"
    texts = (shelf.to,) if verb == "build" else ()
    shelf.begin(*before)
    assert shelf.children.run(name, *texts) == 0, shelf.children.error
    check(shelf)
    shelf.check_tidy()
    many = shelf.children.operations
    record_property("operations", many)
    for operation in range(1, many + 1, max(1, many // TRIED)):
        shelf.begin(*before)
        status = shelf.children.run(name, *texts, operation=operation)
        assert status in (-9, 0), shelf.children.error
        shelf.lapse_leases()
        again = shelf.children.run(name, *texts)
        assert again == 0 or (done and done in shelf.children.error), (
            f"killed before {operation} of {many}: {shelf.children.error}"
        )
        try:
            check(shelf)
            shelf.check_tidy()
        except AssertionError as error:
            raise AssertionError(f"{verb}, killed before operation {operation} of {many}") from error
