"""Which files of repositories as people really publish them are taken, and what a refusal prints."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping

import pytest

from modelshelf.cli.models import import_, register
from modelshelf.errors import (
    ChooseModel,
    ChooseQuantization,
    CollidingFileNames,
    FormatRefused,
    HostileFileNames,
    NamesCode,
    NothingToImport,
    NotWhole,
    OnlyInPieces,
    Refused,
    UnknownQuantization,
)
from modelshelf.formats.kinds import Role
from modelshelf.sources.asking import Asked, ChoosableUri
from modelshelf.sources.choosing import Chosen, choose
from modelshelf.sources.uri import parse_source

HUB = "hf://org/repo"
EVERY_SOURCE = [HUB, "hf://org/repo@v1.0", "file:///models/my model", "fs://shared/models/repo"]
SMALL = ("README.md", "config.json", "tokenizer.json", "LICENSE")


def index(*files: str) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": {f"tensor.{number}": file for number, file in enumerate(files)}}).encode()


def shards(stem: str, count: int, suffix: str = "safetensors") -> list[str]:
    return [f"{stem}-{number:05d}-of-{count:05d}.{suffix}" for number in range(1, count + 1)]


def asked(source: str = HUB, **options: object) -> Asked:
    uri = parse_source(source)
    assert isinstance(uri, ChoosableUri)
    return Asked(uri, **options)  # type: ignore[arg-type]


def chosen(names: Mapping[str, bytes] | list[str] | tuple[str, ...], source: str = HUB, **options: object) -> Chosen:
    contents = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, b"{}")
    return choose(dict.fromkeys(contents, 10), asked(source, **options), contents.__getitem__)


def weights(found: Chosen) -> list[str]:
    return [path.text for path, role in found.roles.items() if role is Role.WEIGHT]


QUANTISER = [
    "README.md", ".gitattributes", "model.imatrix", "imatrix.dat", "config.json",
    *(f"Model-7B-{quantization}.gguf" for quantization in ("Q2_K", "IQ3_M", "Q4_K_M", "Q8_0", "bf16")),
    "Model-7B-F32.gguf.part1of2", "Model-7B-F32.gguf.part2of2",
    *shards("Model-7B-F16/Model-7B-F16", 3, "gguf"),
]  # fmt: skip
SENTENCES = [
    *SMALL, ".gitattributes", ".DS_Store", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "rust_model.ot",
    "onnx/model.onnx", "onnx/model_qint8.onnx", "onnx/config.json", "openvino/openvino_model.bin", "openvino/openvino_model.xml",
    "coreml/float32_model.mlpackage/Data/com.apple.CoreML/weights/weight.bin", "1_Pooling/config.json", "modules.json",
    "train_script.py", "data_config.json", "train/events.out.tfevents.1612.host", "training_args.bin", "optimizer.pt", "rng_state_0.pth",
    "checkpoint-500/model.safetensors", "checkpoint-500/optimizer.pt", "runs/Jan01/events.out.tfevents.1", "images/a.png", "demo.mp4",
]  # fmt: skip
LLAMA = [
    *SMALL, *shards("model", 2), "original/consolidated.00.pth", "original/params.json", "original/tokenizer.model",
    "USE_POLICY.md", ".gitattributes",
]  # fmt: skip
DIFFUSERS = [
    "README.md", "model_index.json", "v1-5-pruned.safetensors", "v1-5-pruned-emaonly.ckpt", "scheduler/scheduler_config.json",
    *(
        f"unet/{name}"
        for name in (
            "config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin",
            "diffusion_pytorch_model.non_ema.safetensors",
        )
    ),
    *(f"vae/{name}" for name in ("config.json", "diffusion_pytorch_model.safetensors", "diffusion_flax_model.msgpack")),
    *(f"text_encoder/{name}" for name in ("config.json", "model.safetensors", "model.fp16.safetensors", "pytorch_model.bin")),
    "tokenizer/vocab.json", "tokenizer/merges.txt",
]  # fmt: skip


def with_index(names: list[str], **indexes: bytes) -> dict[str, bytes]:
    return {**dict.fromkeys(names, b"{}"), **{name.replace("__", "."): content for name, content in indexes.items()}}


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("names", "source", "taken"),
    [
        (QUANTISER, f"{HUB}:Q4_K_M", ["Model-7B-Q4_K_M.gguf"]),
        (QUANTISER, f"{HUB}:f16", shards("Model-7B-F16/Model-7B-F16", 3, "gguf")),
        (QUANTISER, f"{HUB}:BF16", ["Model-7B-bf16.gguf"]),
        (QUANTISER, f"{HUB}:Model-7B-Q2_K.gguf", ["Model-7B-Q2_K.gguf"]),
        (QUANTISER, f"{HUB}:Model-7B-F16-00002-of-00003.gguf", shards("Model-7B-F16/Model-7B-F16", 3, "gguf")),
        (SENTENCES, HUB, ["model.safetensors"]),
        ({**dict.fromkeys(LLAMA, b"{}"), INDEX: index(*shards("model", 2))}, HUB, shards("model", 2)),
        (LLAMA, HUB, shards("model", 2)),
        (
            DIFFUSERS,
            HUB,
            ["text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"],
        ),
        (
            DIFFUSERS,
            f"{HUB}:fp16",
            ["text_encoder/model.fp16.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.safetensors"],
        ),
        # mistral's consolidated, whole or in parts
        ({"consolidated.safetensors": b"", "params.json": b"", **dict.fromkeys(shards("model", 3), b""), INDEX: index(*shards("model", 3))},
         HUB, shards("model", 3)),
        ([*shards("consolidated", 2), *shards("model", 3)], HUB, shards("model", 3)),
        (["consolidated.safetensors", "params.json"], HUB, ["consolidated.safetensors"]),
        ([*shards("consolidated", 2), "params.json"], HUB, shards("consolidated", 2)),
        (["consolidated.safetensors", "model.safetensors"], f"{HUB}:consolidated.safetensors", ["consolidated.safetensors"]),
        # one file beside the set, variants, companions
        ({"model.safetensors": b"", **dict.fromkeys(shards("model", 2), b""), INDEX: index(*shards("model", 2))}, HUB, shards("model", 2)),
        (["model.safetensors", *shards("model", 2)], HUB, ["model.safetensors"]),
        (["model.safetensors", "model.fp16.safetensors", "model.int8.safetensors"], HUB, ["model.safetensors"]),
        (["model.safetensors", "model.fp16.safetensors"], f"{HUB}:fp16", ["model.fp16.safetensors"]),
        (["model.fp16.safetensors"], HUB, ["model.fp16.safetensors"]),
        (["model.safetensors", "adapter_model.safetensors", "adapter_model.bin"], HUB, ["adapter_model.safetensors", "model.safetensors"]),
        (["adapter_model.safetensors", "adapter_config.json"], HUB, ["adapter_model.safetensors"]),
        (["model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin"], HUB, ["model.safetensors"]),
        (["flux-dev.safetensors", "flux-dev-fp8.safetensors", "ae.safetensors"], HUB, ["ae.safetensors", "flux-dev.safetensors"]),
        ({"model.safetensors": b"", "mtp.safetensors": b"", INDEX: index("model.safetensors", "mtp.safetensors")},
         HUB, ["model.safetensors", "mtp.safetensors"]),
        (["layer-1.safetensors", "layer-2.safetensors"], HUB, ["layer-1.safetensors", "layer-2.safetensors"]),
        # two sets, of which the index lists one
        ({**dict.fromkeys([*shards("model", 2), *shards("model", 4)], b""), INDEX: index(*shards("model", 4))}, HUB, shards("model", 4)),
        # folders of other forms
        (["model.safetensors", "gguf/model-Q4_K_M.gguf", "gguf/model-Q8_0.gguf", "mlx/weights.npz"], HUB, ["model.safetensors"]),
        (["model.safetensors", "gguf/model-Q4_K_M.gguf", "gguf/model-Q8_0.gguf"], f"{HUB}:Q8_0", ["gguf/model-Q8_0.gguf"]),
        (["gguf/model-Q4_K_M.gguf", "config.json"], HUB, ["gguf/model-Q4_K_M.gguf"]),
        (["original/model.safetensors", "original/config.json"], HUB, ["original/model.safetensors"]),
        (["model.gguf", "model.safetensors", "pytorch_model.bin"], HUB, ["model.gguf"]),
        # companions of a GGUF
        (["m-Q4_K_M.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf", "mmproj-BF16.gguf"], HUB, ["m-Q4_K_M.gguf", "mmproj-F16.gguf"]),
        (["m-Q4_K_M.gguf", "mmproj-m-q8_0.gguf", "mmproj-m-f32.gguf"], HUB, ["m-Q4_K_M.gguf", "mmproj-m-q8_0.gguf"]),
        (["m-F16.gguf", "lora.gguf"], HUB, ["lora.gguf", "m-F16.gguf"]),
        (["m-F16.gguf", "a-lora-f16.gguf", "a-lora-f32.gguf", "b-lora-q8_0.gguf"], HUB, ["a-lora-f16.gguf", "b-lora-q8_0.gguf", "m-F16.gguf"]),
        (["m-Q4_K_M.gguf", "m.imatrix.gguf"], HUB, ["m-Q4_K_M.gguf"]),
        (["m-Q4_K_M.gguf", "m-draft-Q8_0.gguf", "m-draft-Q4_K_M.gguf"], HUB, ["m-Q4_K_M.gguf", "m-draft-Q4_K_M.gguf"]),
        (["my-lora-Q4_K_M.gguf"], HUB, ["my-lora-Q4_K_M.gguf"]),
        (["mmproj-F16.gguf"], HUB, ["mmproj-F16.gguf"]),
        (["A/a-Q4_K_M.gguf", "A/mmproj-F16.gguf", "B/b-Q4_K_M.gguf", "B/mmproj-F16.gguf"], f"{HUB}:a-Q4_K_M.gguf",
         ["A/a-Q4_K_M.gguf", "A/mmproj-F16.gguf"]),
        (["a-Q4_K_M.gguf", "a-mmproj-F16.gguf", "b-Q4_K_M.gguf", "b-mmproj-F16.gguf"], f"{HUB}:b-Q4_K_M.gguf",
         ["b-Q4_K_M.gguf", "b-mmproj-F16.gguf"]),
        # one model as one file and in parts
        (["m-Q8_0.gguf", *shards("m-Q8_0", 2, "gguf")], HUB, ["m-Q8_0.gguf"]),
        (["Mixed.gguf", "Mixed-Q4_K_M.gguf"], f"{HUB}:Mixed.gguf", ["Mixed.gguf"]),
        (["Mixed.gguf", "Mixed-Q4_K_M.gguf"], f"{HUB}:Q4_K_M", ["Mixed-Q4_K_M.gguf"]),
    ],
)  # fmt: skip
def test_one_form_of_the_weights_is_taken(names: Mapping[str, bytes] | list[str], source: str, taken: list[str]) -> None:
    assert weights(chosen(names, source)) == sorted(taken)


@pytest.mark.parametrize("names", [QUANTISER, SENTENCES, LLAMA, DIFFUSERS])
def test_every_file_is_taken_or_listed_with_a_reason(names: list[str]) -> None:
    found = chosen(names, f"{HUB}:Q4_K_M" if names is QUANTISER else HUB)
    left = dict(line.split(": ", 1) for line in found.left_out)
    assert {path.text for path in found.roles} | set(left) == set(names)
    assert not {path.text for path in found.roles} & set(left)
    assert all(left.values())
    assert {"README.md"} <= {path.text for path in found.roles}


def test_a_reason_says_what_the_file_is() -> None:
    left = dict(line.split(": ", 1) for line in chosen(SENTENCES).left_out)
    for name in (
        "pytorch_model.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "rust_model.ot",
        "onnx/config.json",
        "openvino/openvino_model.bin",
    ):
        assert left[name] == "another form of the weights"
    for name in ("training_args.bin", "optimizer.pt", "checkpoint-500/model.safetensors", "train/events.out.tfevents.1612.host"):
        assert left[name] == "left over from training"
    assert "--allow-code" in left["train_script.py"]
    assert "not to the model" in left[".DS_Store"]
    assert "not on the list" in left["demo.mp4"]
    left = dict(line.split(": ", 1) for line in chosen(QUANTISER, f"{HUB}:Q4_K_M").left_out)
    assert "importance matrix" in left["model.imatrix"]
    assert "piece of a split file" in left["Model-7B-F32.gguf.part1of2"]


def test_small_files_beside_the_weights_come_along() -> None:
    assert {path.text for path in chosen(LLAMA).roles} == {*SMALL, *shards("model", 2), "USE_POLICY.md"}
    assert {path.text for path in chosen(SENTENCES).roles} == {
        *SMALL, "model.safetensors", "1_Pooling/config.json", "modules.json", "data_config.json", "images/a.png",
    }  # fmt: skip


# --- what is needed and not taken -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "named"),
    [
        ([*SMALL, "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "training_args.bin"],
         ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]),
        (["tf_model.h5", "flax_model.msgpack", "model.onnx", "config.json"], ["tf_model.h5", "flax_model.msgpack", "model.onnx"]),
        (["Q8_0.gguf.part1of2", "Q8_0.gguf.part2of2"], ["Q8_0.gguf.part1of2", "Q8_0.gguf.part2of2"]),
        (["model.safetensors", "config.json", "2_Dense/config.json", "2_Dense/pytorch_model.bin", "3_Dense/config.json",
          "3_Dense/pytorch_model.bin"], ["2_Dense/pytorch_model.bin", "3_Dense/pytorch_model.bin"]),
        (["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
          "vae/diffusion_pytorch_model.bin"], ["vae/diffusion_pytorch_model.bin"]),
    ],
)  # fmt: skip
def test_weights_that_are_needed_and_not_taken_are_all_named_in_one_refusal(names: list[str], named: list[str]) -> None:
    with pytest.raises(FormatRefused) as refused:
        chosen(names)
    assert all(name in str(refused.value) for name in named)
    assert "training_args" not in str(refused.value)


@pytest.mark.parametrize("names", [[], ["README.md", "config.json"], ["imatrix.dat", "README.md"]])
def test_a_source_without_weights_has_nothing_to_import(names: list[str]) -> None:
    with pytest.raises(NothingToImport):
        chosen(names)


@pytest.mark.parametrize(
    ("names", "source", "missing"),
    [
        (["m-Q8_0-00001-of-00003.gguf", "m-Q8_0-00003-of-00003.gguf"], HUB, "m-Q8_0-00002-of-00003.gguf"),
        (["m-Q8_0-00002-of-00002.gguf", "m-Q4_0.gguf"], f"{HUB}:Q8_0", "m-Q8_0-00001-of-00002.gguf"),
        (shards("model", 3)[:2], HUB, "model-00003-of-00003.safetensors"),
        ({**dict.fromkeys(shards("model", 3)[:2], b""), INDEX: index(*shards("model", 3))}, HUB, "model-00003-of-00003.safetensors"),
        ({"model-a.safetensors": b"", INDEX: index("model-a.safetensors", "model-b.safetensors")}, HUB, "model-b.safetensors"),
        (["vae/config.json", "vae/diffusion_pytorch_model-00002-of-00002.safetensors"], HUB,
         "vae/diffusion_pytorch_model-00001-of-00002.safetensors"),
    ],
)  # fmt: skip
def test_a_set_that_is_not_whole_is_refused_with_what_it_lacks(
    names: Mapping[str, bytes] | list[str], source: str, missing: str
) -> None:
    with pytest.raises(NotWhole, match=re.escape(missing)):
        chosen(names, source)


def test_an_index_of_which_no_file_is_there_is_left_out_and_said_to_be_stale() -> None:
    found = chosen({"model.safetensors": b"", INDEX: index(*shards("model", 3))})
    assert [path.text for path in found.roles] == ["model.safetensors"]
    assert found.left_out == (f"{INDEX}: stale: none of the 3 files that it lists exist",)


def test_a_broken_set_beside_a_whole_file_is_left_out() -> None:
    found = chosen({"model.safetensors": b"", shards("model", 2)[0]: b"", INDEX: index(*shards("model", 2))})
    assert weights(found) == ["model.safetensors"]


# --- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["assets/a:b.png", "assets/con.json", "assets/tab\there.txt", "assets/dot./x.md", "assets/[1].md?"]
)
def test_a_name_that_cannot_be_laid_out_refuses_only_what_is_taken(name: str) -> None:
    names = ["model.safetensors", name]
    if chosen_role(name):
        with pytest.raises(HostileFileNames):
            chosen(names)
    assert weights(chosen(names, exclude=("assets/*",))) == ["model.safetensors"]
    assert weights(chosen([*names, "runs/a:b/events.out.tfevents.1:2"], exclude=("assets/*",))) == ["model.safetensors"]


def chosen_role(name: str) -> bool:
    return name.endswith((".png", ".json", ".txt", ".md"))


def test_names_that_collide_refuse_only_what_is_taken() -> None:
    names = ["model.safetensors", "assets/A.png", "assets/a.png", "TF_model.h5", "tf_model.h5"]
    with pytest.raises(CollidingFileNames, match=r"--exclude assets/a\.png"):
        chosen(names)
    assert weights(chosen(names, exclude=("assets/a.png",))) == ["model.safetensors"]


def test_all_names_that_cannot_be_laid_out_are_in_one_message() -> None:
    with pytest.raises(HostileFileNames, match=r"a:b\.png.*con\.json"):
        chosen(["model.safetensors", "assets/a:b.png", "x/con.json"])


# --- code ---------------------------------------------------------------------------------------------------------------

CODED = {
    "config.json": b'{"auto_map": {"AutoModel": "modeling_x.X"}}',
    "model.safetensors": b"",
    "modeling_x.py": b"",
    "lib/y.py": b"",
}


def test_code_that_the_configuration_names_is_refused_with_the_flag_and_all_its_files() -> None:
    with pytest.raises(NamesCode, match=r"modeling_x\.X.*lib/y\.py, modeling_x\.py.*--allow-code"):
        chosen(CODED)


def test_with_the_flag_the_code_comes_along_as_code() -> None:
    roles = {path.text: role for path, role in chosen(CODED, allow_code=True).roles.items()}
    assert (roles["modeling_x.py"], roles["lib/y.py"], roles["config.json"]) == (Role.CODE, Role.CODE, Role.CONFIG)


GGUF_CODED = {
    "m-Q4_K_M.gguf": b"",
    "config.json": b'{"\\u0061uto_map": {"AutoModel": "other/repo--x.X"}}',
    "sub/tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": ["x.X", null]},}',
    "generation_config.json": b"{}",
    "modeling_x.py": b"",
}


def test_beside_gguf_configuration_that_names_code_is_left_out_as_no_engine_reads_it() -> None:
    found = chosen(GGUF_CODED)
    assert {path.text for path in found.roles} == {"m-Q4_K_M.gguf", "generation_config.json"}
    assert [line for line in found.left_out if "no engine reads it beside GGUF" in line and "--allow-code" in line] == [
        line for line in found.left_out if line.startswith(("config.json: ", "sub/tokenizer_config.json: "))
    ]
    assert {path.text for path in chosen(GGUF_CODED, allow_code=True).roles} == set(GGUF_CODED)


def test_code_that_nothing_names_is_left_out() -> None:
    found = chosen({**CODED, "config.json": b"{}", "build.sh": b"", "lib.so": b""})
    assert {path.text for path in found.roles} == {"config.json", "model.safetensors"}
    assert len(found.left_out) == 4


# --- what messages print -------------------------------------------------------------------------------------------------

MANY_MODELS = ["Llama-A-Q4_K_M.gguf", "Llama-B-Q4_K_M.gguf", "README.md"]
REFUSALS: list[tuple[Mapping[str, bytes] | list[str], str, dict[str, object], type[Refused]]] = [
    (QUANTISER, "", {}, ChooseQuantization),
    (QUANTISER, ":Q5_K_M", {}, UnknownQuantization),
    (QUANTISER, ":nothing.gguf", {}, UnknownQuantization),
    (["Mixed.gguf", "Mixed-Q4_K_M.gguf"], "", {}, ChooseQuantization),
    (["Mixed.gguf", "Other.gguf"], "", {}, ChooseModel),
    (["Mixed.gguf"], ":Q4_K_M", {}, UnknownQuantization),
    (MANY_MODELS, "", {}, ChooseModel),
    (MANY_MODELS, ":Q4_K_M", {}, ChooseModel),
    (["Llama-Q4_K_M.gguf", "Llama-Instruct-Q4_K_M.gguf", "Llama-Q8_0.gguf", "Llama-Instruct-Q8_0.gguf"], "", {}, ChooseQuantization),
    (["a/m-Q4_K_M.gguf", "b/m-Q4_K_M.gguf", "it's [1] & 2-Q4_K_M.gguf"], "", {}, ChooseModel),
    ([*MANY_MODELS, "x/a.md", "X/a.md"], "", {"include": ("*.gguf",)}, ChooseModel),
    (["model.safetensors"], ":Q4_K_M", {}, UnknownQuantization),
    (["model.safetensors", "model.fp16.safetensors"], ":model.int8.safetensors", {}, UnknownQuantization),
    (["checkpoint-1/model.safetensors", "checkpoint-2/model.safetensors"], "", {}, ChooseModel),
    (["model.safetensors", "config.json", "2_Dense/config.json", "2_Dense/pytorch_model.bin"], "", {}, FormatRefused),
    (["model.safetensors", "it's:[1] *.md", "con.json", "new\nline.txt"], "", {"exclude": ("*.png",)}, HostileFileNames),
    (CODED, "", {}, NamesCode),
    (["model.safetensors", "A[1].md", "a[1].md"], "", {}, CollidingFileNames),
    (["m-Q4_K_M.gguf", *shards("m-Q8_0", 3, "gguf")[:2]], "", {}, ChooseQuantization),
]  # fmt: skip


@pytest.mark.parametrize("source", EVERY_SOURCE)
@pytest.mark.parametrize(("names", "part", "options", "error"), REFUSALS)
def test_every_command_that_a_refusal_prints_works_when_it_is_typed(
    names: Mapping[str, bytes] | list[str], part: str, options: dict[str, object], error: type[Refused], source: str
) -> None:
    with pytest.raises(error) as refused:
        chosen(names, source + part, **options)
    printed = re.findall(r"`(modelshelf [^`]+|--[^`]+)`", str(refused.value))
    assert printed
    for text in printed:
        command = text if text.startswith("modelshelf ") else f"{asked(source + part, **options).command()} {text}"
        assert weights(choose_typed(command, names)), command


def choose_typed(command: str, names: Mapping[str, bytes] | list[str]) -> Chosen:
    """Choose as the command that was typed into a shell does."""
    program, verb, *arguments = shlex.split(command)
    assert program == "modelshelf"
    parameters = {"import": import_, "register": register}[verb].make_context(verb, arguments).params
    options = {name: parameters[name] for name in ("include", "exclude", "allow_code")}
    contents = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, b"{}")
    return choose(dict.fromkeys(contents, 10), Asked(parameters["source"], **options), contents.__getitem__)


PIECES = ["M-Q4_K_M.gguf", "M-Q8_0.gguf.part1of2", "M-Q8_0.gguf.part2of2", "M-F16.gguf-split-a", "config.json"]


@pytest.mark.parametrize(
    ("wanted", "files"),
    [
        ("Q8_0", "M-Q8_0.gguf.part1of2, M-Q8_0.gguf.part2of2"),
        ("q8_0", "M-Q8_0.gguf.part1of2, M-Q8_0.gguf.part2of2"),
        ("fp16", "M-F16.gguf-split-a"),
        ("M-Q8_0.gguf", "M-Q8_0.gguf.part1of2, M-Q8_0.gguf.part2of2"),
    ],
)
def test_a_quantisation_that_is_there_in_pieces_alone_is_refused_with_the_pieces(wanted: str, files: str) -> None:
    with pytest.raises(OnlyInPieces) as refused:
        chosen(PIECES, f"{HUB}:{wanted}")
    assert f"has {wanted} only in pieces: {files}. Join the pieces" in str(refused.value)
    assert f"`modelshelf import {HUB}:Q4_K_M`" in str(refused.value)


def test_a_quantisation_that_is_not_there_at_all_is_not_said_to_be_in_pieces() -> None:
    with pytest.raises(UnknownQuantization, match="has no Q5_K_M"):
        chosen(PIECES, f"{HUB}:Q5_K_M")
