"""`llama-server`'s options, as settings of the parameters that the wheel `xllamacpp` has for them.

Source: `llama-server --help` and `common/arg.cpp` of llama.cpp b10434; `xllamacpp.CommonParams` 2026.10.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Set = Callable[[Any, str], None]
"""Sets what an option means in the parameters; a switch gets the empty text."""
Options = dict[str, tuple[Set, bool]]
"""By flag: how it is set, and whether a value follows."""

_EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"
_WORDS = {"on": True, "enabled": True, "1": True, "off": False, "disabled": False, "0": False}
_KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


class BadOption(Exception):
    """An option that cannot be taken, in the words of `llama-server`."""


def apply(params: Any, arguments: Sequence[str], *, enums: Any) -> None:
    """Set what the arguments say. `enums` is the module xllamacpp. Raises BadOption, naming the option."""
    options = _Table(enums).options
    words = iter(arguments)
    for word in words:
        flag = word.replace("_", "-") if word.startswith("--") else word
        if flag not in options:
            reason = "the server in the wheel xllamacpp does not accept it; name a llama-server that does with `llamacpp_server`"
            raise BadOption(f"invalid argument: {word}: {reason} in config.toml")
        change, has_value = options[flag]
        value = next(words, None) if has_value else ""
        if value is None:
            raise BadOption(f"expected value for argument: {word}")
        try:
            change(params, value)
        except (ValueError, KeyError, OSError, AssertionError) as error:
            raise BadOption(f"error while handling argument {word!r}: {value[:200]!r}: {error}") from error


class _Table:
    """Every option that is taken."""

    def __init__(self, enums: Any) -> None:
        self.options: Options = {}
        self._enums = enums
        for add in (_files, _serving, _sizes, _switches, _chat, _pooling, _memory, _devices, _rope, _drafting, _sampling):
            add(self)

    def value(self, field: str, kind: Callable[[str], Any], *flags: str) -> None:
        """The flags set the field to what `kind` makes of their value."""
        self.special(lambda params, text: _assign(params, field, kind(text)), *flags)

    def switch(self, field: str, to: object, *flags: str) -> None:
        """The flags, without a value, set the field to `to`."""
        self.special(lambda params, _text: _assign(params, field, to), *flags, has_value=False)

    def special(self, change: Set, *flags: str, has_value: bool = True) -> None:
        self.options.update(dict.fromkeys(flags, (change, has_value)))

    def member(self, kind: str, prefix: str, words: Mapping[str, str]) -> Callable[[str], Any]:
        """Return what makes a word a member of one of xllamacpp's enumerations."""
        return lambda text: getattr(self._enums, kind)[prefix + words[text]]

    def mark(self, name: str) -> int:
        """Return the mark that says: the server's own setting comes before one in the GGUF."""
        return int(self._enums.common_params_sampling_config[f"COMMON_PARAMS_SAMPLING_CONFIG_{name}"])


def _same(*words: str) -> dict[str, str]:
    return {word: word.upper() for word in words}


def _files(table: _Table) -> None:
    table.value("model.path", str, "-m", "--model")
    table.special(lambda params, text: setattr(params, "model_alias", set(text.split(","))), "-a", "--alias")
    table.value("mmproj.path", str, "-mm", "--mmproj")
    table.switch("no_mmproj", True, "--no-mmproj")
    table.special(_add_lora, "--lora")
    table.special(_add_scaled, "--lora-scaled")
    table.switch("lora_init_without_apply", True, "--lora-init-without-apply")


def _serving(table: _Table) -> None:
    table.special(lambda params, text: setattr(params, "hostnames", [text]), "--host")
    table.value("port", int, "--port")
    table.special(_read_keys, "--api-key-file")
    table.value("api_prefix", str, "--api-prefix")
    table.special(_cors_origins, "--cors-origins")
    table.value("cors_methods", str, "--cors-methods")
    table.value("cors_headers", str, "--cors-headers")
    table.special(_timeout, "-to", "--timeout")
    table.value("n_threads_http", int, "--threads-http")
    table.value("verbosity", int, "-lv", "--verbosity", "--log-verbosity")


def _sizes(table: _Table) -> None:
    table.value("n_ctx", int, "-c", "--ctx-size")
    table.value("n_batch", int, "-b", "--batch-size")
    table.value("n_ubatch", int, "-ub", "--ubatch-size")
    table.value("n_parallel", int, "-np", "--parallel")
    table.value("n_predict", int, "-n", "--predict", "--n-predict")
    table.value("n_keep", int, "--keep")
    table.value("cpuparams.n_threads", int, "-t", "--threads")
    table.value("cpuparams_batch.n_threads", int, "-tb", "--threads-batch")
    table.value("n_cache_reuse", int, "--cache-reuse")
    table.value("cache_ram_mib", int, "-cram", "--cache-ram")
    table.value("slot_prompt_similarity", float, "-sps", "--slot-prompt-similarity")
    table.value("sleep_idle_seconds", int, "--sleep-idle-seconds")


def _switches(table: _Table) -> None:
    for field, on, off in (
        ("cont_batching", ("-cb", "--cont-batching"), ("-nocb", "--no-cont-batching")),
        ("kv_unified", ("-kvu", "--kv-unified"), ("-no-kvu", "--no-kv-unified")),
        ("swa_full", ("--swa-full",), ()),
        ("ctx_shift", ("--context-shift",), ("--no-context-shift",)),
        ("cache_prompt", ("--cache-prompt",), ("--no-cache-prompt",)),
        ("warmup", ("--warmup",), ("--no-warmup",)),
        ("special", ("-sp", "--special"), ()),
        ("check_tensors", ("--check-tensors",), ()),
        ("use_jinja", ("--jinja",), ("--no-jinja",)),
        ("prefill_assistant", ("--prefill-assistant",), ("--no-prefill-assistant",)),
        ("mmproj_use_gpu", ("--mmproj-offload",), ("--no-mmproj-offload",)),
        ("cors_credentials", ("--cors-credentials",), ("--no-cors-credentials",)),
        ("ui", ("--ui", "--webui"), ("--no-ui", "--no-webui")),
        ("endpoint_metrics", ("--metrics",), ()),
        ("endpoint_props", ("--props",), ()),
        ("endpoint_slots", ("--slots",), ("--no-slots",)),
        ("offline", ("--offline",), ()),
        ("no_kv_offload", ("-nkvo", "--no-kv-offload"), ("-kvo", "--kv-offload")),
    ):
        table.switch(field, True, *on)
        table.switch(field, False, *off)


def _chat(table: _Table) -> None:
    table.value("chat_template", str, "--chat-template")
    table.value("chat_template", lambda path: Path(path).read_text(), "--chat-template-file")
    table.special(_template_kwargs, "--chat-template-kwargs")
    formats = {"none": "NONE", "auto": "AUTO", "deepseek": "DEEPSEEK", "deepseek-legacy": "DEEPSEEK_LEGACY"}
    table.value(
        "reasoning_format", table.member("common_reasoning_format", "COMMON_REASONING_FORMAT_", formats), "--reasoning-format"
    )
    table.value("enable_reasoning", lambda text: -1 if text == "auto" else int(_WORDS[text]), "-rea", "--reasoning")


def _pooling(table: _Table) -> None:
    table.switch("embedding", True, "--embedding", "--embeddings")
    pooling = table.member("llama_pooling_type", "LLAMA_POOLING_TYPE_", _same("none", "mean", "cls", "last", "rank"))
    table.value("pooling_type", pooling, "--pooling")
    table.special(lambda params, _text: _rerank(params, pooling("rank")), "--rerank", "--reranking", has_value=False)
    table.value("embd_normalize", int, "--embd-normalize")


def _memory(table: _Table) -> None:
    kv_type = table.member("ggml_type", "GGML_TYPE_", _same(*_KV_TYPES))
    table.value("cache_type_k", kv_type, "-ctk", "--cache-type-k")
    table.value("cache_type_v", kv_type, "-ctv", "--cache-type-v")
    attention = {"auto": "AUTO", **{word: "ENABLED" if on else "DISABLED" for word, on in _WORDS.items()}}
    table.value(
        "flash_attn_type", table.member("llama_flash_attn_type", "LLAMA_FLASH_ATTN_TYPE_", attention), "-fa", "--flash-attn"
    )
    table.value("fit_params", lambda text: _WORDS[text], "-fit", "--fit")
    table.value("fit_params_min_ctx", int, "-fitc", "--fit-ctx")
    modes = {"auto": "AUTO", "none": "NONE", "mmap": "MMAP", "mlock": "MLOCK", "mmap+mlock": "MMAP_MLOCK", "dio": "DIRECT_IO"}
    load_mode = table.member("llama_load_mode", "LLAMA_LOAD_MODE_", modes)
    table.value("load_mode", load_mode, "-lm", "--load-mode")
    table.special(lambda params, _text: _assign(params, "load_mode", load_mode("mmap")), "--mmap", has_value=False)
    table.special(lambda params, _text: _combine(params, load_mode, "none"), "--no-mmap", has_value=False)
    table.special(lambda params, _text: _combine(params, load_mode, "mmap+mlock"), "--mlock", has_value=False)
    strategies = _same("distribute", "isolate", "numactl")
    table.value("numa", table.member("ggml_numa_strategy", "GGML_NUMA_STRATEGY_", strategies), "--numa")


def _devices(table: _Table) -> None:
    layers = {"auto": -1, "all": -2}
    table.value("n_gpu_layers", lambda text: layers.get(text) or int(text), "-ngl", "--gpu-layers", "--n-gpu-layers")
    modes = _same("none", "layer", "row", "tensor")
    table.value("split_mode", table.member("llama_split_mode", "LLAMA_SPLIT_MODE_", modes), "-sm", "--split-mode")
    table.special(_tensor_split, "-ts", "--tensor-split")
    table.value("main_gpu", int, "-mg", "--main-gpu")
    table.special(_override, "-ot", "--override-tensor")
    table.special(lambda params, _text: _override(params, _EXPERTS), "-cmoe", "--cpu-moe", has_value=False)
    table.special(_experts_on_cpu, "-ncmoe", "--n-cpu-moe")


def _rope(table: _Table) -> None:
    scalings = _same("none", "linear", "yarn")
    table.value(
        "rope_scaling_type", table.member("llama_rope_scaling_type", "LLAMA_ROPE_SCALING_TYPE_", scalings), "--rope-scaling"
    )
    table.value("rope_freq_scale", lambda text: 1 / float(text), "--rope-scale")
    table.value("rope_freq_base", float, "--rope-freq-base")
    table.value("rope_freq_scale", float, "--rope-freq-scale")
    table.value("yarn_orig_ctx", int, "--yarn-orig-ctx")
    for name in ("ext_factor", "attn_factor", "beta_slow", "beta_fast"):
        table.value(f"yarn_{name}", float, f"--yarn-{name.replace('_', '-')}")


def _drafting(table: _Table) -> None:
    simple = table.member("common_speculative_type", "COMMON_SPECULATIVE_TYPE_", {"simple": "DRAFT_SIMPLE"})
    table.special(lambda params, path: _draft(params, path, simple("simple")), "-md", "--model-draft", "--spec-draft-model")
    table.value("speculative.draft.n_max", int, "--spec-draft-n-max")
    table.value("speculative.draft.n_min", int, "--spec-draft-n-min")
    table.value("speculative.draft.p_min", float, "--spec-draft-p-min", "--draft-p-min")
    table.value("speculative.draft.n_gpu_layers", int, "-ngld", "--spec-draft-ngl", "--gpu-layers-draft", "--n-gpu-layers-draft")


def _sampling(table: _Table) -> None:
    """What holds where a request leaves it open."""

    def value(field: str, kind: Callable[[str], Any], *flags: str, mark: str = "") -> None:
        def change(params: Any, text: str) -> None:
            setattr(params.sampling, field, kind(text))
            if mark:
                params.sampling.user_sampling_config |= table.mark(mark)

        table.special(change, *flags)

    value("seed", lambda text: int(text) & 0xFFFFFFFF, "-s", "--seed")
    value("temp", float, "--temp", "--temperature", mark="TEMP")
    value("top_k", int, "--top-k", mark="TOP_K")
    value("top_p", float, "--top-p", mark="TOP_P")
    value("min_p", float, "--min-p", mark="MIN_P")
    value("typ_p", float, "--typical", "--typical-p")
    value("xtc_probability", float, "--xtc-probability", mark="XTC_PROBABILITY")
    value("xtc_threshold", float, "--xtc-threshold", mark="XTC_THRESHOLD")
    value("penalty_last_n", int, "--repeat-last-n", mark="PENALTY_LAST_N")
    value("penalty_repeat", float, "--repeat-penalty", mark="PENALTY_REPEAT")
    value("penalty_present", float, "--presence-penalty")
    value("penalty_freq", float, "--frequency-penalty")
    value("mirostat", int, "--mirostat", mark="MIROSTAT")
    value("mirostat_eta", float, "--mirostat-lr", mark="MIROSTAT_ETA")
    value("mirostat_tau", float, "--mirostat-ent", mark="MIROSTAT_TAU")
    table.special(lambda params, text: _append(params, "antiprompt", text), "-r", "--reverse-prompt")


def _assign(params: Any, field: str, value: object) -> None:
    *path, last = field.split(".")
    for name in path:
        params = getattr(params, name)
    setattr(params, last, value)


def _append(params: Any, field: str, value: object) -> None:
    setattr(params, field, [*getattr(params, field), value])


def _add_lora(params: Any, paths: str) -> None:
    _add_scaled(params, ",".join(f"{path}:1.0" for path in paths.split(",")))


def _add_scaled(params: Any, text: str) -> None:
    from xllamacpp import CommonAdapterLoraInfo

    for part in text.split(","):
        adapter = CommonAdapterLoraInfo()
        path, _, scale = part.rpartition(":")
        adapter.path, adapter.scale = path, float(scale)
        _append(params, "lora_adapters", adapter)


def _read_keys(params: Any, path: str) -> None:
    lines = [line.strip() for line in Path(path).read_text().splitlines()]
    params.api_keys = [line for line in lines if line and not line.startswith("#")]
    if not params.api_keys:
        raise ValueError("it has no key")


def _cors_origins(params: Any, text: str) -> None:
    params.cors_origins = text
    params.cors_origins_explicit = True


def _timeout(params: Any, seconds: str) -> None:
    params.timeout_read = params.timeout_write = int(seconds)


def _template_kwargs(params: Any, text: str) -> None:
    said = json.loads(text)
    params.default_template_kwargs = {**params.default_template_kwargs, **{key: json.dumps(said[key]) for key in said}}


def _rerank(params: Any, rank: object) -> None:
    params.embedding = True
    params.pooling_type = rank


def _combine(params: Any, load_mode: Callable[[str], Any], word: str) -> None:
    """`--mlock` and `--no-mmap` together lock weights that are not mapped."""
    other = {"none": "mmap+mlock", "mmap+mlock": "none"}[word]
    params.load_mode = load_mode("mlock" if params.load_mode == load_mode(other) else word)


def _tensor_split(params: Any, text: str) -> None:
    shares = [float(share) for share in text.replace("/", ",").split(",")]
    room = len(params.tensor_split)
    if len(shares) > room:
        raise ValueError(f"at most {room} devices")
    params.tensor_split = [*shares, *[0.0] * (room - len(shares))]


def _override(params: Any, pattern: str) -> None:
    params.tensor_buft_overrides = ",".join(filter(None, (params.tensor_buft_overrides, pattern)))


def _experts_on_cpu(params: Any, layers: str) -> None:
    for layer in range(int(layers)):
        _override(params, rf"blk\.{layer}{_EXPERTS}")


def _draft(params: Any, path: str, type: object) -> None:
    params.speculative.draft.mparams.path = path
    params.speculative.types = [type]
