"""The kinds of parameters that forms and the API share. Each is parsed again inside: a caller can switch checks off."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=0, le=100_000)]
Bytes = Annotated[int, Field(ge=0, le=1 << 60)]
Port = Annotated[int, Field(ge=0, le=65535)]
ShortText = Annotated[str, Field(max_length=500)]
Arguments = Annotated[list[Annotated[str, Field(max_length=4000)]], Field(max_length=200)]
Texts = Annotated[list[Annotated[str, Field(max_length=500)]], Field(min_length=1, max_length=100)]
Keep = Annotated[int, Field(ge=0, le=1000)]
Days = Annotated[float, Field(ge=0, le=36500)]
Minutes = Annotated[int, Field(ge=0, le=10_080)]
AtMost = Annotated[int, Field(ge=1, le=5000)]
Patterns = Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=100)]
