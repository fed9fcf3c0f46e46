"""Any order of imports, launches, deletions, cleanings, evictions and crashes keeps promises 1, 2, 4 and 6."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import text

from modelshelf import crash_points
from modelshelf.catalog import instances, versions
from modelshelf.catalog.stale import Policy
from modelshelf.catalog.versions import Version
from modelshelf.crash_points import POINTS
from modelshelf.digest import Digest
from modelshelf.errors import BlobBeingDeleted, ModelshelfError
from modelshelf.library import auditing, caching, cleaning, deleting, naming, running
from modelshelf.library.opening import Library, migrate
from modelshelf.names import InstanceName, Tag
from modelshelf.settings import Settings
from modelshelf.stop import StopToken
from tests.making import P, bring_in, gguf, ollama_source, record_instance
from tests.stand_ins.ollama_registry import OllamaRegistry

STEPS = int(os.environ.get("MODELSHELF_STATE_STEPS", "25"))


class _Killed(BaseException):
    """The process ends here: nothing of ours may catch it."""


class Shelf(RuleBasedStateMachine):
    """What a person and the schedules may do, in any order; each step may be killed at any crash point on its way."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="modelshelf-states-"))
        settings = Settings(self.folder / "home", f"sqlite:///{self.folder / 'home' / 'catalog.db'}")
        migrate(settings)
        self.library = Library.open(settings)
        self.registry = OllamaRegistry()
        self.registry.__enter__()
        self.images: dict[str, Digest] = {}

    def teardown(self) -> None:
        crash_points.on_reach = None
        if hasattr(self, "registry"):
            self.registry.__exit__(None, None, None)
            shutil.rmtree(self.folder, ignore_errors=True)

    @rule(model=st.sampled_from(["a", "b"]), seed=st.integers(0, 2), dies=st.sampled_from([None, None, *POINTS]))
    def bring_in(self, model: str, seed: int, dies: str | None) -> None:
        self.registry.add_model(f"library/{model}", "1b", gguf(5000, seed=seed), template="shared")
        with self._maybe_killed(dies), contextlib.suppress(BlobBeingDeleted):
            bring_in(self.library, ollama_source(self.registry, f"library/{model}:1b"))

    @precondition(lambda self: self._ready())
    @rule(pick=st.randoms(use_true_random=False), dies=st.sampled_from([None, *POINTS]))
    def cache(self, pick: random.Random, dies: str | None) -> None:
        with self._maybe_killed(dies):
            caching.fill(self.library, P, pick.choice(self._ready()), StopToken())

    @precondition(lambda self: self._ready())
    @rule(pick=st.randoms(use_true_random=False), name=st.sampled_from(["i", "j"]))
    def launch(self, pick: random.Random, name: str) -> None:
        version = pick.choice(self._ready())
        caching.fill(self.library, P, version, StopToken())
        with self.library.catalog.writing() as connection:
            record_instance(connection, self.library.node_id, version, name)

    @precondition(lambda self: self._instances())
    @rule(pick=st.randoms(use_true_random=False))
    def end(self, pick: random.Random) -> None:
        running.delete_instance(self.library, P, pick.choice(self._instances()), "test")

    @precondition(lambda self: self._ready())
    @rule(pick=st.randoms(use_true_random=False), back=st.booleans())
    def promote(self, pick: random.Random, back: bool) -> None:
        version = pick.choice(self._ready())
        with contextlib.suppress(ModelshelfError):
            if back:
                naming.let_go(self.library, P, version.model, Tag("stable"), who="test")
            else:
                naming.promote(self.library, P, version.ref, Tag("stable"), who="test")

    @precondition(lambda self: self._ready())
    @rule(pick=st.randoms(use_true_random=False), dies=st.sampled_from([None, *POINTS]))
    def delete(self, pick: random.Random, dies: str | None) -> None:
        with self._maybe_killed(dies), contextlib.suppress(ModelshelfError):
            deleting.delete_version(self.library, P, pick.choice(self._ready()).ref, who="test")

    @rule(keep=st.integers(0, 1), dies=st.sampled_from([None, *POINTS]))
    def clean(self, keep: int, dies: str | None) -> None:
        with self._maybe_killed(dies):
            plan = cleaning.plan_clean(self.library, P, Policy(keep=keep, days=0))
            before = {one.id for one in self._ready()}
            report = cleaning.clean(self.library, P, plan, StopToken(), who="test")
            gone = before - {one.id for one in self._ready()}
            assert gone <= {one.version_id for one in plan.versions}, "nothing but the plan"
            assert len(report.removed) + len(report.left) == len(plan.versions)

    @precondition(lambda self: self._ready())
    @rule(pick=st.randoms(use_true_random=False))
    def evict(self, pick: random.Random) -> None:
        with contextlib.suppress(ModelshelfError):
            caching.evict(self.library, P, pick.choice(self._ready()).ref, who="test")

    @rule()
    def repair(self) -> None:
        auditing.audit(self.library, StopToken(), rehash="none", repair=True, who="test", grace_seconds=0)

    @invariant()
    def every_stored_blob_has_the_digest_it_is_called_by(self) -> None:
        for blob in self.library.store.stored() if hasattr(self, "library") else ():
            with self.library.store.open(blob.digest) as file:
                assert Digest.of_file(file) == blob.digest

    @invariant()
    def a_ready_version_has_all_its_bytes_and_never_changes(self) -> None:
        for version in self._ready() if hasattr(self, "library") else ():
            assert version.image is not None
            assert self.images.setdefault(str(version.ref), version.image) == version.image
            assert self.library.store.sizes([version.image])
            with self.library.catalog.reading() as connection:
                files = versions.files(connection, P, version.id)
            assert self.library.store.sizes(file.digest for file in files) == {file.digest: file.size for file in files}

    @invariant()
    def what_an_instance_serves_is_there(self) -> None:
        if not hasattr(self, "library"):
            return
        ready = {one.id: one for one in self._ready()}
        with self.library.catalog.reading() as connection:
            for one in instances.page(connection, P):
                for serving in one.serves if one.state in ("starting", "ready") else ():  # an audit fails one without a process
                    image = ready[serving.version_id].image
                    assert image is not None
                    assert self.library.node.replicas.holds(image, versions.files(connection, P, serving.version_id))

    @contextlib.contextmanager
    def _maybe_killed(self, point: str | None) -> Iterator[None]:
        def reached(name: str) -> None:
            if name == point:
                raise _Killed

        crash_points.on_reach = reached
        try:
            yield
        except _Killed:
            with self.library.catalog.writing() as connection:  # half a minute passes
                connection.execute(text("UPDATE lease SET expires = 0"))
        finally:
            crash_points.on_reach = None

    def _ready(self) -> list[Version]:
        with self.library.catalog.reading() as connection:
            return [one for one in versions.page(connection, P) if one.state == "ready"]

    def _instances(self) -> list[InstanceName]:
        with self.library.catalog.reading() as connection:
            return [one.name for one in instances.page(connection, P)]


TestStates = Shelf.TestCase
TestStates.settings = hypothesis_settings(max_examples=6, stateful_step_count=STEPS, deadline=None, phases=[Phase.generate])
