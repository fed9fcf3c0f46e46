from __future__ import annotations

import json
import pickle

import pytest

from modelshelf.catalog import versions
from modelshelf.errors import (
    AccessDenied,
    ChooseQuantization,
    CollidingFileNames,
    DigestMismatch,
    FormatRefused,
    HostileFileNames,
    LargeFilePointer,
    NamesCode,
    NotFound,
    NothingToImport,
    NotWhatItSays,
    NotWhole,
    UnknownQuantization,
    Unreachable,
)
from modelshelf.library.opening import Library
from modelshelf.stop import StopToken
from tests.making import P, bring_in, gguf, hub_source, safetensors
from tests.stand_ins.hub import Hub

STOP = StopToken()
FILES = {"README.md": b"# hello", "config.json": b"{}", "model.safetensors": safetensors(), "1_Pooling/config.json": b"{}"}


def listed(hub: Hub, text: str, **options: object) -> list[str]:
    source = hub_source(hub, text, **options)
    return [str(file.path) for file in source.list_files(source.pin(STOP), STOP).files]


def test_a_repository_at_a_commit_gives_exactly_its_files(hub: Hub, library: Library) -> None:
    repo = hub.repo("org/model")
    repo.license = "mit"
    commit = repo.commit(FILES)
    version, _ = bring_in(library, hub_source(hub, "org/model"))
    assert (version.resolved, str(version.name), version.license) == (commit, f"main-{commit[:8]}", "mit")
    with library.catalog.reading() as connection:
        packed = versions.files(connection, P, version.id)
    found = {}
    for file in packed:
        with library.store.open(file.digest) as stored:
            found[str(file.path)] = stored.read()
    assert found == FILES


def test_a_branch_that_moves_between_listing_and_download_still_yields_one_commit(hub: Hub, library: Library) -> None:
    repo = hub.repo("org/model")
    first = repo.commit(FILES)
    source = hub_source(hub, "org/model")
    pin = source.pin(STOP)
    repo.commit({**FILES, "config.json": b'{"moved": true}'})
    listing = source.list_files(pin, STOP)
    assert pin.resolved == first
    assert next(file.size for file in listing.files if str(file.path) == "config.json") == 2


def test_deleting_the_repository_changes_nothing_about_the_version(hub: Hub, library: Library) -> None:
    hub.repo("org/model").commit(FILES)
    version, _ = bring_in(library, hub_source(hub, "org/model"))
    del hub.repos["org/model"]
    with library.catalog.reading() as connection:
        again = versions.get(connection, P, version.id)
    assert (again.state, again.resolved) == ("ready", version.resolved)
    with pytest.raises(AccessDenied, match="private or does not exist"):
        bring_in(library, hub_source(hub, "org/model"), run="run-2")


def test_a_gated_repository_is_a_refusal_with_the_reason_and_opens_with_a_token(hub: Hub, library: Library) -> None:
    hub.repo("org/gated").commit(FILES)
    hub.repos["org/gated"].gated, hub.token = True, "hf_canary"
    with pytest.raises(AccessDenied, match="modelshelf login huggingface"):
        bring_in(library, hub_source(hub, "org/gated"))
    assert len(hub.requests) == 1, "a refusal is not tried again"
    assert bring_in(library, hub_source(hub, "org/gated", token="hf_canary"))[0].state == "ready"
    elsewhere = [headers for _, path, headers in hub.requests if path.startswith("/cdn/")]
    assert elsewhere
    assert all("Authorization" not in headers for headers in elsewhere)


def test_a_revision_that_does_not_exist_is_told(hub: Hub) -> None:
    hub.repo("org/model").commit(FILES)
    with pytest.raises(NotFound, match="v9"):
        hub_source(hub, "org/model@v9").pin(STOP)


def test_a_hub_that_is_not_there_is_unreachable(hub: Hub) -> None:
    source = hub_source(hub, "org/model", endpoint="http://127.0.0.1:9")
    with pytest.raises(Unreachable):
        source.pin(STOP)


def test_patterns_choose_files(hub: Hub) -> None:
    hub.repo("org/model").commit({**FILES, "onnx/config.json": b"{}"})
    assert "onnx/config.json" not in listed(hub, "org/model", exclude=["onnx/*"])
    assert listed(hub, "org/model", include=["*.safetensors", "config.json"]) == ["config.json", "model.safetensors"]
    with pytest.raises(NothingToImport, match="patterns"):
        listed(hub, "org/model", include=["nothing"])


@pytest.mark.parametrize("pickled", ["pytorch_model.bin", "model.pt", "weights.ckpt", "pytorch_model.bin.index.json"])
def test_where_safetensors_and_pickle_are_both_there_the_pickle_is_not_fetched(hub: Hub, library: Library, pickled: str) -> None:
    hub.repo("org/model").commit({**FILES, pickled: b"{}" if pickled.endswith("json") else pickle.dumps({})})
    _, plan = bring_in(library, hub_source(hub, "org/model"))
    assert pickled not in {str(file.path) for file in plan.files}
    assert any(pickled in line for line in plan.left_out)
    assert hub.asked(pickled) == 0


@pytest.mark.parametrize("name", ["pytorch_model.bin", "m.keras", "a.zip", "model.h5", "Q8_0.gguf.part1of2"])
def test_weights_in_forms_that_are_not_taken_refuse_the_import_before_the_first_byte(
    hub: Hub, library: Library, name: str
) -> None:
    hub.repo("org/model").commit({"config.json": b"{}", name: b"x", "pytorch_model-2.bin": b"x"})
    with pytest.raises(FormatRefused, match=rf"{name}.*pytorch_model-2\.bin|pytorch_model-2\.bin.*{name}|{name} \(load"):
        bring_in(library, hub_source(hub, "org/model"))
    assert hub.asked("/resolve/") == 0


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "m.py", "code/x.so", "weights.npy", "m.keras", "a.zip", "model.h5", "nothing", "a:b.so"]
)
def test_files_that_the_weights_do_not_need_are_left_out_and_listed(hub: Hub, library: Library, name: str) -> None:
    hub.repo("org/model").commit({"config.json": b"{}", "model.safetensors": safetensors(), name: b"x"})
    version, plan = bring_in(library, hub_source(hub, "org/model"))
    assert version.state == "ready"
    assert [line.split(": ")[0] for line in plan.left_out] == [name.split(": ", maxsplit=1)[0]]
    assert hub.asked(name) == 0


def test_code_is_refused_before_the_weights_and_with_the_flag_it_is_packed_as_code(hub: Hub, library: Library) -> None:
    config = b'{"auto_map": {"AutoModel": "modeling_x.X"}}'
    files = {"config.json": config, "modeling_x.py": b"import os", "model.safetensors": safetensors()}
    hub.repo("org/m").commit(files)
    with pytest.raises(NamesCode, match=r"modeling_x\.py.*--allow-code"):
        bring_in(library, hub_source(hub, "org/m"))
    assert hub.asked("model.safetensors") == hub.asked("modeling_x.py") == 0
    version, _ = bring_in(library, hub_source(hub, "org/m", allow_code=True), allow_code=True)
    with library.catalog.reading() as connection:
        packed = {str(file.path): file for file in versions.files(connection, P, version.id)}
    assert packed["modeling_x.py"].media_type == "application/vnd.cncf.model.code.v1.raw"


def test_a_set_that_its_index_says_is_not_whole_costs_no_weights(hub: Hub, library: Library) -> None:
    weight_map = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    index = json.dumps({"weight_map": weight_map}).encode()
    files = {"model-1.safetensors": safetensors(), "model.safetensors.index.json": index, "config.json": b"{}"}
    hub.repo("org/m").commit(files)
    with pytest.raises(NotWhole, match=r"model-2\.safetensors"):
        bring_in(library, hub_source(hub, "org/m"))
    assert hub.asked("model-1.safetensors") == 0
    hub.repos["org/m"].commit({**files, "model-2.safetensors": safetensors(seed=2)})
    assert bring_in(library, hub_source(hub, "org/m"), run="run-2")[0].state == "ready"


@pytest.mark.parametrize("name", ["tokenizer.model", "model.safetensors", "model.safetensors.index.json"])
def test_a_pointer_of_git_lfs_is_refused_before_the_weights(hub: Hub, library: Library, name: str) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\r\noid sha256:" + b"a" * 64 + b"\nsize 2147483648\n"
    hub.repo("org/m").commit({"config.json": b"{}", "model-x.safetensors": safetensors(), name: pointer}, lfs=())
    with pytest.raises(LargeFilePointer, match=f"{name}.*git lfs pull"):
        bring_in(library, hub_source(hub, "org/m"))
    assert hub.asked("model-x.safetensors") == 0


def test_a_repository_without_an_organisation(hub: Hub, library: Library) -> None:
    hub.repo("gpt2").commit(FILES)
    version, _ = bring_in(library, hub_source(hub, "gpt2"))
    assert (version.state, str(version.model)) == ("ready", "gpt2")


def test_a_tag_of_the_hub_that_no_version_could_be_called(hub: Hub, library: Library) -> None:
    hub.repo("org/m").commit(FILES, branch="1.0+cu12")
    version, _ = bring_in(library, hub_source(hub, "org/m@1.0+cu12"))
    assert version.name.text.startswith("1.0_x2B_cu12-")


def test_a_pickle_named_safetensors_is_refused_by_its_bytes(hub: Hub, library: Library) -> None:
    hub.repo("org/model").commit({"model.safetensors": pickle.dumps({"a": list(range(999))})})
    with pytest.raises(NotWhatItSays, match="pickle"):
        bring_in(library, hub_source(hub, "org/model"))
    assert list(library.store.arriving()) == []


def test_several_quantisations_must_be_chosen_from_and_shards_travel_together(hub: Hub) -> None:
    hub.repo("org/model-gguf").commit(
        {
            "m-Q4_K_M.gguf": gguf(1000),
            "m-Q8_0-00001-of-00002.gguf": gguf(2000),
            "m-Q8_0-00002-of-00002.gguf": gguf(2000, seed=1),
            "README.md": b"x",
        }
    )
    with pytest.raises(ChooseQuantization, match=r"Q4_K_M \(1,\d+ bytes\), Q8_0 \(4,\d+ bytes\)"):
        listed(hub, "org/model-gguf")
    assert [path for path in listed(hub, "org/model-gguf:q8_0") if path.endswith("gguf")] == [
        "m-Q8_0-00001-of-00002.gguf",
        "m-Q8_0-00002-of-00002.gguf",
    ]
    with pytest.raises(UnknownQuantization, match="Q4_K_M"):
        listed(hub, "org/model-gguf:Q2_K")


def test_a_single_quantisation_need_not_be_named(hub: Hub) -> None:
    hub.repo("org/one").commit({"one.IQ4_XS.gguf": gguf(1000)})
    assert listed(hub, "org/one") == ["one.IQ4_XS.gguf"]


def test_files_in_lfs_are_proven_by_their_sha256(hub: Hub, library: Library) -> None:
    hub.repo("org/model").commit(FILES)
    hub.lying_digest = "0" * 64
    with pytest.raises(DigestMismatch, match="sha256:0000"):
        bring_in(library, hub_source(hub, "org/model"))


def test_files_in_git_are_proven_by_their_object_id(hub: Hub, library: Library) -> None:
    hub.repo("org/model").commit({"config.json": b'{"a": 1}', "model.gguf": gguf(1000)}, lfs=())
    hub.faults.flip_byte_at = 3
    with pytest.raises(DigestMismatch, match="git:"):
        bring_in(library, hub_source(hub, "org/model"))
    assert list(library.store.stored()) == []


@pytest.mark.parametrize("name", ["../evil.json", "a\\b.json", "con.json"])
def test_a_hostile_name_refuses_the_import(hub: Hub, name: str) -> None:
    hub.repo("org/model").commit({**FILES, name: b"{}"})
    with pytest.raises(HostileFileNames):
        listed(hub, "org/model")


def test_two_names_that_are_one_on_some_systems_refuse_the_import(hub: Hub) -> None:
    hub.repo("org/model").commit({**FILES, "Config.json": b"{}"})
    with pytest.raises(CollidingFileNames):
        listed(hub, "org/model")


def test_an_empty_repository_is_told(hub: Hub) -> None:
    hub.repo("org/empty").commit({})
    with pytest.raises(NothingToImport):
        listed(hub, "org/empty")
