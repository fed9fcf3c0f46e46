"""Templates, switching, aliases and marks: what changes, what never does, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelshelf.catalog import aliases, instances, models, templates, versions
from modelshelf.catalog.versions import Version
from modelshelf.errors import (
    BadSetting,
    Disabled,
    NoMemoryLimit,
    NoSuchAlias,
    NothingToSwitch,
    StillInUse,
    TooManyModels,
    TypeMismatch,
)
from modelshelf.library import comparing, deleting, naming, running, switching
from modelshelf.library.launching.request import LaunchRequest, resolve
from modelshelf.library.opening import Library
from modelshelf.library.templates import define, remove
from modelshelf.names import InstanceName, ModelName, ModelRef, ServedName, Tag, TemplateName
from tests.library.test_launch import with_engine
from tests.making import P, bring_in, gguf, hub_source, launch_all, launch_spec, ollama_source, safetensors
from tests.nodes.local import handled, with_settings
from tests.nodes.test_memory import with_cgroup
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

CHAT, STABLE = TemplateName("chat"), Tag("stable")


@pytest.fixture
def two(registry: OllamaRegistry, library: Library, tmp_path: Path) -> Iterator[tuple[Library, Version, Version]]:
    """Two versions of one model: the tag `1b` moved in between."""
    equipped = with_engine(library, tmp_path)
    made = []
    for seed in (1, 2):
        registry.add_model("library/tiny", "1b", gguf(seed=seed), template="the same")
        made.append(bring_in(equipped, ollama_source(registry))[0])
    yield equipped, made[0], made[1]
    with equipped.catalog.reading() as connection:
        for one in instances.page(connection, P):
            running.stop_engine(equipped, one)


def test_an_instance_inherits_its_template_and_what_is_asked_for_wins(
    two: tuple[Library, Version, Version], tmp_path: Path
) -> None:
    library, first, _ = two
    library = with_cgroup(library, tmp_path / "cgroup")
    asked = LaunchRequest("llamacpp", environment=("A=1",), cpus=1, memory=1 << 32)
    define(library, P, CHAT, [(first.ref, ServedName("bot"))], asked, who="test")
    spec = resolve(library, P, model=None, template=CHAT, served=None, name=None, request=LaunchRequest(cpus=2))
    settings = spec.settings
    assert (str(spec.instance), settings.cpus, settings.environment, settings.template) == ("chat", 2, ("A=1",), "chat@1")
    made = launch_spec(library, spec)
    assert [(one.ref, str(one.served_name)) for one in made.serves] == [(first.ref, "bot")]
    pid = handled(made.handle).pid
    assert b"A=1\0" in Path(f"/proc/{pid}/environ").read_bytes()
    limited = tmp_path / "cgroup" / f"modelshelf-{made.label}"
    assert (limited / "memory.max").read_text() == f"{1 << 32}\n"
    assert (limited / "cgroup.procs").read_text() == f"{pid}\n", "it entered before it became the engine"


def test_a_template_pins_what_an_alias_meant_when_it_was_defined(two: tuple[Library, Version, Version]) -> None:
    library, first, second = two
    naming.promote(library, P, first.ref, STABLE, who="test")
    made = define(library, P, CHAT, [(ModelRef.parse("tiny:stable"), None)], LaunchRequest(), who="test")
    naming.promote(library, P, second.ref, STABLE, who="test")
    with library.catalog.reading() as connection:
        assert templates.get(connection, P, CHAT) == made
        assert [one.version_id for one in made.serves] == [first.id]
    again = define(library, P, CHAT, [(ModelRef.parse("tiny:stable"), None)], LaunchRequest(), who="test")
    assert (again.number, [one.version_id for one in again.serves]) == (2, [second.id])
    with library.catalog.reading() as connection:
        assert templates.get(connection, P, CHAT, 1) == made, "a revision never changes"


def test_each_version_that_the_engine_does_not_take_is_refused_with_both_named(
    two: tuple[Library, Version, Version], hub: Hub
) -> None:
    library, first, second = two
    hub.repo("org/m").commit({"config.json": b"{}", "model.safetensors": safetensors()})
    tensors, _ = bring_in(library, hub_source(hub, "org/m"))
    with pytest.raises(TypeMismatch, match=rf"ollama serves gguf and ollama: {tensors.ref} is safetensors"):
        define(library, P, CHAT, [(first.ref, None), (tensors.ref, None)], LaunchRequest(engine="ollama"), who="test")
    with pytest.raises(TooManyModels, match="at most 1"):
        define(library, P, CHAT, [(first.ref, None), (second.ref, ServedName("b"))], LaunchRequest(engine="llamacpp"), who="test")
    with pytest.raises(BadSetting, match="twice"):
        define(library, P, CHAT, [(first.ref, None), (second.ref, None)], LaunchRequest(engine="ollama"), who="test")
    with pytest.raises(BadSetting, match="LD_PRELOAD"):
        define(library, P, CHAT, [(first.ref, None)], LaunchRequest(environment=("LD_PRELOAD=/x.so",)), who="test")
    with library.catalog.reading() as connection:
        assert templates.page(connection, P) == [], "a refused template leaves no revision"


def test_a_version_in_a_template_is_not_deleted_and_a_template_in_use_neither(two: tuple[Library, Version, Version]) -> None:
    library, first, _ = two
    define(library, P, CHAT, [(first.ref, None)], LaunchRequest(), who="test")
    with pytest.raises(StillInUse, match=r"template chat \(revision 1\)"):
        deleting.delete_version(library, P, first.ref, who="test")
    remove(library, P, CHAT, who="test")
    deleting.delete_version(library, P, first.ref, who="test")


def test_a_disabled_version_is_refused_for_new_things_and_goes_on_where_it_runs(two: tuple[Library, Version, Version]) -> None:
    library, first, _ = two
    name, serves = InstanceName("chat-1"), ((first, ServedName("tiny")),)
    launch_all(library, name, serves)
    naming.mark(library, P, first.ref, who="test", disabled=True)
    running.stop_instance(library, P, name, "test")
    assert launch_all(library, name, serves).state == "ready", "what was started with it may be started again"
    with pytest.raises(Disabled, match="modelshelf enable"):
        launch_all(library, InstanceName("chat-2"), serves)
    with pytest.raises(Disabled):
        define(library, P, CHAT, [(first.ref, None)], LaunchRequest(), who="test")
    with pytest.raises(StillInUse, match="instance chat-1"):
        deleting.delete_version(library, P, first.ref, who="test")
    naming.mark(library, P, first.ref, who="test", disabled=False)
    assert define(library, P, CHAT, [(first.ref, None)], LaunchRequest(), who="test").number == 1


def test_an_instance_is_switched_and_back_under_the_same_name_and_port(two: tuple[Library, Version, Version]) -> None:
    library, first, second = two
    name = InstanceName("chat-1")
    before = launch_all(library, name, ((first, ServedName("bot")),))
    plan = switching.plan_switch(library, P, name, second.ref, back=False)
    assert [one.id for one, _ in plan.after.serves] == [second.id]
    running.stop_instance(library, P, name, "test")
    after = launch_spec(library, plan.after)
    assert ([one.version_id for one in after.serves], after.port) == ([second.id], before.port)
    back = switching.plan_switch(library, P, name, None, back=True)
    assert [(one.id, str(served)) for one, served in back.after.serves] == [(first.id, "bot")]
    with pytest.raises(StillInUse, match="the past of instance chat-1"):
        deleting.delete_version(library, P, first.ref, who="test")


def test_a_switch_to_a_model_of_another_category_is_refused(
    two: tuple[Library, Version, Version], registry: OllamaRegistry
) -> None:
    library, first, _ = two
    registry.add_model("library/vectors", "1b", gguf(seed=3), template="t")
    other, _ = bring_in(library, ollama_source(registry, "library/vectors:1b"), run="run-3")
    with library.catalog.writing() as connection:
        models.set_category(connection, P, other.model, "embedding", who="test")
    launch_all(library, InstanceName("chat-1"), ((first, ServedName("bot")),))
    with pytest.raises(NothingToSwitch, match="bot serves chat and .* serves embedding: its callers would fail"):
        switching.plan_switch(library, P, InstanceName("chat-1"), other.ref, back=False)


def test_there_is_no_way_back_for_an_instance_that_never_changed(two: tuple[Library, Version, Version]) -> None:
    library, first, _ = two
    launch_all(library, InstanceName("chat-1"), ((first, ServedName("bot")),))
    with pytest.raises(NothingToSwitch, match="no earlier version"):
        switching.plan_switch(library, P, InstanceName("chat-1"), None, back=True)


def test_a_limit_of_memory_that_cannot_be_kept_is_refused_before_anything_is_recorded(
    two: tuple[Library, Version, Version], tmp_path: Path
) -> None:
    library, first, _ = two
    library = with_settings(library, cgroup=tmp_path / "nowhere")
    with pytest.raises(NoMemoryLimit, match="is not a cgroup v2 folder"):
        launch_all(library, InstanceName("chat-1"), ((first, ServedName("bot")),), LaunchRequest(memory=1 << 30))
    with library.catalog.reading() as connection:
        assert instances.page(connection, P) == []


def test_an_alias_moves_and_is_rolled_back_and_its_history_is_kept(two: tuple[Library, Version, Version]) -> None:
    library, first, second = two
    with pytest.raises(NoSuchAlias):
        naming.roll_back(library, P, ModelRef(ModelName("tiny")), STABLE, who="ann")
    for version in (first, second):
        naming.promote(library, P, version.ref, STABLE, who="ann")
    assert naming.roll_back(library, P, ModelRef(ModelName("tiny")), STABLE, who="bob").id == first.id
    assert naming.roll_back(library, P, first.ref, STABLE, who="bob").id == first.id, "a retried run moves it to the same version"
    with library.catalog.reading() as connection:
        assert versions.find(connection, P, ModelRef.parse("tiny:stable")).id == first.id
        history = [one for one in aliases.history(connection, P, ModelName("tiny")) if one.alias == "stable"]
    moves = [(one.before, one.after, one.who) for one in history]
    assert moves == [
        (str(second.name), str(first.name), "bob"),
        (str(first.name), str(second.name), "ann"),
        (None, str(first.name), "ann"),
    ]


def test_an_alias_that_someone_set_holds_its_version_and_an_upstream_tag_does_not(two: tuple[Library, Version, Version]) -> None:
    library, first, second = two
    naming.promote(library, P, first.ref, STABLE, who="test")
    with pytest.raises(StillInUse, match="alias stable"):
        deleting.delete_version(library, P, first.ref, who="test")
    naming.let_go(library, P, ModelName("tiny"), STABLE, who="test")
    deleting.delete_version(library, P, first.ref, who="test")
    deleting.delete_version(library, P, second.ref, who="test")


def test_the_difference_tells_files_bytes_and_what_the_node_would_fetch(two: tuple[Library, Version, Version]) -> None:
    library, first, second = two
    difference = comparing.compare(library, P, first.ref, second.ref)
    with library.catalog.reading() as connection:
        before, after = (versions.files(connection, P, one.id) for one in (first, second))
    same = {file.digest for file in before} & {file.digest for file in after}
    assert difference.shared == sum(file.size for file in after if file.digest in same) > 0
    assert difference.shared + difference.new == sum(file.size for file in after)
    assert difference.to_fetch == 0
    assert {name for name, _, _ in difference.facts} >= {"resolved"}
    weights = next(file for file in after if file.digest not in same)
    assert any(change.path == str(weights.path) and change.before is None for change in difference.files)
