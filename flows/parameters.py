"""The kinds of parameters that forms and the API share. Each is parsed again inside: a caller can switch checks off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from modelshelf.engines.table import ENGINES
from modelshelf.library.launching.request import LaunchRequest

Count = Annotated[int, Field(ge=0, le=100_000)]
Port = Annotated[int, Field(ge=0, le=65535)]
ShortText = Annotated[str, Field(max_length=500)]
Arguments = Annotated[list[Annotated[str, Field(max_length=4000)]], Field(max_length=200)]
Texts = Annotated[list[Annotated[str, Field(max_length=500)]], Field(min_length=1, max_length=100)]
Keep = Annotated[int, Field(ge=0, le=1000)]
Days = Annotated[float, Field(ge=0, le=36500)]
Minutes = Annotated[int, Field(ge=0, le=10_080)]
AtMost = Annotated[int, Field(ge=1, le=5000)]
CategoryOrNone = Literal["", "chat", "embedding", "reranker", "image", "audio", "video"]
"""A category, or none: as the files of the model say."""
Patterns = Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=100)]
if TYPE_CHECKING:
    EngineChoice = str
    """An engine, or none asked for."""
else:
    EngineChoice = Literal[("auto", *ENGINES)]
AtMostCount = Annotated[int, Field(ge=-1, le=100_000)]
AtMostBytes = Annotated[int, Field(ge=-1, le=1 << 60)]
"""-1 asks for nothing. A form has no empty number, and a union has no form."""


def launch_request(
    engine: str, bind: str, port: int, arguments: Sequence[str], environment: Sequence[str], cpus: int, memory: int, key: str,
    *, unprotected: bool,
) -> LaunchRequest:  # fmt: skip
    """Return what the fields of a form ask for: each has a value that asks for nothing."""
    return LaunchRequest(
        engine=None if engine == "auto" else engine,
        bind=bind or None,
        port=port or None,
        arguments=tuple(arguments) or None,
        environment=tuple(environment) or None,
        cpus=None if cpus < 0 else cpus,
        memory=None if memory < 0 else memory,
        key_block=key or None,
        unprotected=unprotected or None,
    )
