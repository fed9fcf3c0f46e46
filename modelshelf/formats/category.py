"""What a model is used for, as its own files say it. None where they do not: most models that write text say nothing.

Sources: `enum llama_pooling_type` and the architectures of llama.cpp; the suffixes of `architectures` by which transformers and
vLLM choose a head; the layout of sentence-transformers; `model_index.json` of diffusers; `pipeline_tag` of the Hub's cards.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from modelshelf.formats.configuration import Read, object_at
from modelshelf.formats.kinds import Facts
from modelshelf.limits import DEFAULT, KiB, Limits
from modelshelf.names import Category, FilePath

_POOL_MEAN, _POOL_CLS, _POOL_LAST, _POOL_RANK = 1, 2, 3, 4

_ENCODERS = frozenset(
    {
        "bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert", "eurobert",
        "xlm-roberta", "roberta", "distilbert", "mpnet", "t5encoder", "gemma-embedding", "llama-embed", "pangu-embedding",
    }
)  # fmt: skip
"""GGUF architectures that read a text and write none."""
_DIFFUSE = frozenset({"dream", "llada", "llada-moe", "rnd1"})
"""GGUF architectures that write text although they look ahead."""
_PICTURES: dict[str, Category] = {
    **dict.fromkeys(("flux", "sd1", "sdxl", "sd3", "aura", "lumina2", "hidream", "qwen_image", "chroma", "pixart"), "image"),
    **dict.fromkeys(("wan", "ltxv", "hyvid", "cosmos", "mochi"), "video"),
    **dict.fromkeys(("whisper", "wavtokenizer-dec"), "audio"),
}  # fmt: skip

_AUDIO = re.compile(
    r"^(Whisper|Bark|Musicgen|SpeechT5|Parler|Vits|Encodec)|For(SpeechSeq2Seq|CTC|AudioClassification|TextToWaveform)"
)
_WRITES = re.compile(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)$")
_ENCODES = re.compile(r"(Model|ForMaskedLM|ForTextEncoding|TextEncoder|EncoderModel)$")

_TAGS: dict[str, Category] = {
    **dict.fromkeys(("sentence-similarity", "feature-extraction", "image-feature-extraction"), "embedding"),
    "text-ranking": "reranker",
    **dict.fromkeys(
        ("text-generation", "text2text-generation", "conversational", "image-text-to-text", "any-to-any"),
        "chat",
    ),
    **dict.fromkeys(("text-to-image", "image-to-image", "unconditional-image-generation"), "image"),
    **dict.fromkeys(("text-to-speech", "text-to-audio", "automatic-speech-recognition", "audio-to-audio"), "audio"),
    **dict.fromkeys(("text-to-video", "image-to-video", "video-to-video"), "video"),
}  # fmt: skip
_CONFIG = FilePath("config.json")
_CARD, _CARD_BYTES = FilePath("README.md"), 64 * KiB
_TAG = re.compile(r"^pipeline_tag:[ \t]*[\"']?([a-z0-9-]+)", re.MULTILINE)


def recognise(
    header: Category | None, facts: Facts, paths: Collection[FilePath], read: Read, limits: Limits = DEFAULT
) -> Category | None:
    """Return what the files say, the surest word first.

    A header that pools is surest, then a layout that belongs to one use, then the publisher's card. A head that writes text comes
    last: embedding models and rerankers are published with one too.
    """
    return header or _of_layout(paths, read, limits) or _of_card(paths, read) or _of_head(facts, paths, read, limits)


def of_gguf(architecture: str | None, known: Mapping[str, str | int | None]) -> Category | None:
    """Return what the entries of a GGUF header say: how its outputs are pooled, else what its architecture is for."""
    pooling = known.get(f"{architecture}.pooling_type")
    if pooling == _POOL_RANK or (pooling is None and f"{architecture}.classifier.output_labels" in known):
        return "reranker"
    if pooling in (_POOL_MEAN, _POOL_CLS, _POOL_LAST) or architecture in _ENCODERS:
        return "embedding"
    if known.get(f"{architecture}.attention.causal") is False and architecture not in _DIFFUSE:
        return "embedding"
    return _PICTURES.get(architecture or "")


def _of_layout(paths: Collection[FilePath], read: Read, limits: Limits) -> Category | None:
    config = object_at(_CONFIG, paths, read, limits)
    if _architecture(config).endswith("ForSequenceClassification") and _labels(config) == 1:
        return "reranker"
    sentences = object_at(FilePath("config_sentence_transformers.json"), paths, read, limits)
    if sentences.get("model_type") == "CrossEncoder":
        return "reranker"
    if sentences or FilePath("modules.json") in paths or FilePath("1_Pooling/config.json") in paths:
        return "embedding"
    if (pipeline := object_at(FilePath("model_index.json"), paths, read, limits)).get("_class_name"):
        return _of_pipeline(str(pipeline["_class_name"]))
    return "audio" if _AUDIO.search(_architecture(config)) else None


def _of_head(facts: Facts, paths: Collection[FilePath], read: Read, limits: Limits) -> Category | None:
    architecture = _architecture(object_at(_CONFIG, paths, read, limits))
    if facts.chat_template or _WRITES.search(architecture):
        return "chat"
    return "embedding" if _ENCODES.search(architecture) else None


def _of_card(paths: Collection[FilePath], read: Read) -> Category | None:
    if _CARD not in paths:
        return None
    text = read(_CARD)[:_CARD_BYTES].decode("utf-8", "replace").replace("\r\n", "\n").removeprefix("\ufeff")
    front = text.split("\n---", 1)[0] if text.startswith("---\n") else ""
    found = _TAG.search(front)
    return _TAGS.get(found[1]) if found is not None else None


def _of_pipeline(name: str) -> Category:
    if re.search(r"Video|Wan|LTX|CogVideo|Animate|Mochi|Hunyuan.*Video", name):
        return "video"
    return "audio" if re.search(r"Audio|Music|Speech", name) else "image"


def _architecture(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    return named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""


def _labels(config: Mapping[str, Any]) -> int:
    """How many labels a classifier has; transformers' default is two."""
    if isinstance(names := config.get("id2label"), dict):
        return len(names)
    count = config.get("num_labels", 2)
    return count if isinstance(count, int) else 2
