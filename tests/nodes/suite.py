"""What every node keeps true. A node's own test file inherits this, and says how it is made and how its engines end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelshelf.digest import Digest
from modelshelf.engines.contract import Command, Layout
from modelshelf.errors import BadSetting, EngineMissing, NoSuchEngine, PortTaken
from modelshelf.formats.image import PackedFile
from modelshelf.formats.kinds import Role
from modelshelf.names import FilePath
from modelshelf.nodes.contract import Node, Running
from modelshelf.stop import Stopped, StopToken
from modelshelf.store.contract import Store
from modelshelf.transfer.contract import Downloads
from modelshelf.wire import Wire

LABEL, OTHER = "0123456789abcdef0123456789abcdef", "f" * 32
FILES = tuple(PackedFile(FilePath(name), Role.WEIGHT, Digest.of(name.encode()), len(name)) for name in ("m.gguf", "x/lora.gguf"))
IMAGE = Digest.of(b"an image")
MODEL, LORA = (file.path for file in FILES)


class NodeSuite:
    @pytest.fixture
    def node(self) -> Node:
        """A node without replicas and engines, which has the program of llama.cpp and not of vLLM."""
        raise NotImplementedError

    @pytest.fixture
    def store(self) -> Store:
        """The store that the node's replicas are of."""
        raise NotImplementedError

    def command(self) -> Command:
        """What runs until it is stopped, and writes `ready` to its log."""
        raise NotImplementedError

    def end(self, node: Any, label: str) -> None:
        """Let the engine of the label end by itself; nothing is left of it."""
        raise NotImplementedError

    def laid_out(self, node: Any, label: str) -> dict[str, bytes]:
        """The files in the engine's own folder that it reads, by their paths."""
        raise NotImplementedError

    def write(self, node: Any, label: str, path: str, content: bytes) -> None:
        """Write a file into the engine's own folder, as the engine does."""
        raise NotImplementedError

    def alter(self, node: Any, image: Digest, path: str) -> None:
        """Put other bytes of the same size in the place of a replica's file."""
        raise NotImplementedError

    def until(self, condition: Callable[[], bool]) -> None:
        assert condition()

    def start(self, node: Node, label: str = LABEL) -> str:
        handle = node.start(label, "llamacpp", self.command())
        self.until(lambda: "ready" in node.log_of_start(label))
        return handle

    def fill(self, node: Node, store: Store) -> None:
        for file in FILES:
            store.put(str(file.path).encode())
        with node.replicas.alone_at(IMAGE):
            node.replicas.fill(IMAGE, FILES, StopToken())

    def prepare(self, node: Node, layout: Layout | None, key: str = "") -> Any:
        return node.prepare(LABEL, [IMAGE], layout, bind="127.0.0.1", port=1, key=key)

    # --- engines by label -------------------------------------------------------------------------------------------

    def test_a_started_engine_is_found_under_its_label(self, node: Node) -> None:
        assert (node.find(LABEL), node.look()) == (None, {})
        handle = self.start(node)
        assert node.find(LABEL) == handle
        (found,) = node.look().values()
        assert isinstance(found, Running)
        assert (found.handle, found.parts != "") == (handle, True)
        assert node.find(OTHER) is None

    def test_a_label_has_one_engine(self, node: Node) -> None:
        handle = self.start(node)
        assert node.start(LABEL, "llamacpp", self.command()) == handle
        assert self.start(node, OTHER) != handle
        assert set(node.look()) == {LABEL, OTHER}

    def test_a_stopped_engine_is_gone_and_its_files_are_not(self, node: Node) -> None:
        handle = self.start(node)
        node.stop(LABEL, 20)
        assert (node.find(LABEL), node.look()) == (None, {})
        assert set(node.labels()) == {LABEL}
        node.stop(LABEL, 20)
        assert self.start(node) != handle, "another engine has another handle"

    def test_an_engine_that_ended_by_itself_does_not_run(self, node: Node) -> None:
        self.start(node)
        self.end(node, LABEL)
        self.until(lambda: node.find(LABEL) is None)
        assert node.look() == {}
        assert not node.exceeded_memory(LABEL)
        assert isinstance(node.exit_status(LABEL), str)

    def test_what_was_discarded_leaves_nothing(self, node: Node) -> None:
        self.start(node)
        node.discard(LABEL)
        assert (node.find(LABEL), set(node.labels()), node.log(LABEL, 0)) == (None, set(), None)
        node.discard(LABEL)

    def test_files_under_another_label_have_no_engine(self, node: Node) -> None:
        self.start(node)
        node.stop(LABEL, 20)
        node.rename(LABEL, OTHER)
        assert set(node.labels()) == {OTHER}
        assert node.find(OTHER) is None
        assert "ready" in node.log_of_start(OTHER)
        node.rename(LABEL, "e" * 32)

    # --- programs, ports and logs -----------------------------------------------------------------------------------

    def test_a_program_is_there_or_missing_with_what_to_install(self, node: Node) -> None:
        assert node.require("llamacpp")
        with pytest.raises(EngineMissing, match="pip install vllm"):
            node.require("vllm")
        with pytest.raises(EngineMissing):
            node.start(LABEL, "vllm", self.command())
        with pytest.raises(NoSuchEngine, match="llamacpp, ollama, vllm"):
            node.require("nobody")

    def test_a_free_port_is_chosen_and_the_former_one_is_kept(self, node: Node) -> None:
        chosen = node.choose_port("127.0.0.1", 0)
        assert node.choose_port("127.0.0.1", 0, chosen) == chosen == node.choose_port("127.0.0.1", chosen)

    def test_a_port_that_is_taken_is_refused_if_it_is_wanted(self, node: Node) -> None:
        with self.taken(node) as port:
            with pytest.raises(PortTaken):
                node.choose_port("127.0.0.1", port)
            assert node.choose_port("127.0.0.1", 0, port) != port

    def taken(self, node: Any) -> Any:
        """A context in which something listens at the port that it gives."""
        raise NotImplementedError

    def test_a_log_is_that_of_this_start(self, node: Node) -> None:
        assert (node.log(LABEL, 0), node.log_of_start(LABEL), node.logged(LABEL)) == (None, "", 0)
        self.start(node)
        assert node.logged(LABEL) >= len("ready")
        node.stop(LABEL, 20)
        self.start(node)
        assert node.log_of_start(LABEL).splitlines() == ["ready"]
        log = node.log(LABEL, 1)
        assert log is not None and list(log) == ["ready"]

    # --- what an engine finds ---------------------------------------------------------------------------------------

    def test_a_key_is_where_the_engine_looks_for_it(self, node: Node, store: Store) -> None:
        self.fill(node, store)
        assert (self.prepare(node, Layout()).key_file, node.key(LABEL)) == (None, "")
        assert self.prepare(node, Layout(), "the-key").key_file is not None
        assert node.key(LABEL) == "the-key"
        with pytest.raises(BadSetting):
            self.prepare(node, Layout(), "#comment")
        assert node.key(LABEL) == "the-key"
        assert node.key(OTHER) == ""

    def test_what_was_laid_out_is_there_and_the_surroundings_name_the_folders(self, node: Node, store: Store) -> None:
        self.fill(node, store)
        layout = Layout({FilePath("a/model"): (0, MODEL)}, {FilePath("a/list"): b"model"}, (FilePath("tmp"),))
        at = self.prepare(node, layout)
        assert self.prepare(node, layout) == at, "safe to repeat"
        assert (at.bind, at.port, len(at.folders)) == ("127.0.0.1", 1, 1)
        assert all(folder.is_absolute() for folder in (*at.folders, at.own))
        assert self.laid_out(node, LABEL) == {"a/model": b"m.gguf", "a/list": b"model"}
        self.prepare(node, None)
        assert len(self.laid_out(node, LABEL)) == 2, "no layout leaves what is there"

    def test_another_layout_takes_what_is_no_longer_served_and_leaves_what_the_engine_wrote(
        self, node: Node, store: Store
    ) -> None:
        self.fill(node, store)
        first, second = (FilePath(f"blobs/sha256-{file.digest.hex}") for file in FILES)
        layout = Layout({first: (0, MODEL), second: (0, LORA)}, {FilePath("lists/ours"): b"x"}, referrers=FilePath("lists"))
        self.prepare(node, layout)
        self.write(node, LABEL, "lists/mine", f"sha256:{FILES[0].digest.hex}".encode())
        self.prepare(node, Layout(referrers=FilePath("lists")))
        assert set(self.laid_out(node, LABEL)) == {str(first), "lists/mine"}, "what the engine's own list names stays"

    def test_what_the_engine_wrote_is_listed_and_read(self, node: Node, store: Store) -> None:
        own = node.own(LABEL, FilePath("lists"))
        assert list(own.list(FilePath("mine"))) == []
        self.fill(node, store)
        self.prepare(node, Layout(folders=(FilePath("lists/mine"),)))
        self.write(node, LABEL, "lists/mine/one", b"written")
        own = node.own(LABEL, FilePath("lists"))
        assert list(own.list(FilePath("mine"))) == [(FilePath("one"), 7)]
        with own.open(FilePath("mine/one")) as file:
            assert file.read() == b"written"
        body = own.body(FilePath("mine/one"), what="it", whose="the engine")
        assert body is not None
        assert (body.what, body.whose, body.size) == ("it", "the engine", 7)
        with store.begin(Digest.of(b"written"), 7) as into:
            Downloads(Wire(), stop=StopToken(), on_bytes=lambda _count: None).fetch(body, into)
            assert into.commit(Digest.of(b"written"), what="it", whose="the engine").size == 7
        assert own.body(FilePath("mine/two"), what="it", whose="the engine") is None
        with pytest.raises(FileNotFoundError):
            own.open(FilePath("mine/two"))

    def test_a_file_that_is_gone_is_not_laid_out(self, node: Node, store: Store) -> None:
        self.fill(node, store)
        with node.replicas.alone_at(IMAGE):
            node.replicas.evict(IMAGE)
        with pytest.raises(FileNotFoundError):
            self.prepare(node, Layout({FilePath("a/model"): (0, MODEL)}))

    def test_a_version_that_lies_in_place_is_found_there(self, node: Node, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").write_bytes(b"in place")
        layout = Layout({FilePath("a/model"): (0, MODEL)})
        at = node.prepare(LABEL, [tmp_path], layout, bind="127.0.0.1", port=1, key="")
        assert str(at.folders[0]) == str(tmp_path)
        assert self.laid_out(node, LABEL) == {"a/model": b"in place"}

    # --- replicas ---------------------------------------------------------------------------------------------------

    def test_a_replica_is_complete_or_absent(self, node: Node, store: Store) -> None:
        assert not node.replicas.holds(IMAGE, FILES)
        self.fill(node, store)
        assert node.replicas.holds(IMAGE, FILES)
        assert set(node.replicas.list()) == {IMAGE}
        with node.replicas.alone_at(IMAGE):
            node.replicas.evict(IMAGE)
        assert not node.replicas.holds(IMAGE, FILES)
        assert set(node.replicas.list()) == set()

    def test_a_fill_that_is_stopped_leaves_nothing_visible(self, node: Node, store: Store) -> None:
        for file in FILES:
            store.put(str(file.path).encode())
        stop = StopToken()
        stop.set()
        with node.replicas.alone_at(IMAGE), pytest.raises(Stopped):
            node.replicas.fill(IMAGE, FILES, stop)
        assert not node.replicas.holds(IMAGE, FILES)

    def test_a_replica_with_other_bytes_is_none_until_it_is_filled_again(self, node: Node, store: Store) -> None:
        self.fill(node, store)
        self.alter(node, IMAGE, "x/lora.gguf")
        assert not node.replicas.holds(IMAGE, FILES)
        self.fill(node, store)
        assert node.replicas.holds(IMAGE, FILES)

    def test_space_is_told_before_it_is_needed(self, node: Node, store: Store) -> None:
        for file in FILES:
            store.put(str(file.path).encode())
        assert node.replicas.bytes_to_copy(FILES) in (0, sum(file.size for file in FILES))
        assert node.replicas.bytes_to_copy(()) == 0
        assert node.replicas.free_bytes() > 0
