"""The key that an engine asks of its users."""

from __future__ import annotations

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from modelshelf.engines.keys import require_usable


class EngineKey(Block):
    """A key for instances that listen beyond this machine."""

    _block_type_name: ClassVar[str] = "Engine Key"
    _block_type_slug: ClassVar[str] = "modelshelf-engine-key"

    key: SecretStr = Field(description="The bearer token that requests must carry.")

    def open(self) -> str:
        """Return the key. Raises BadSetting if an engine could read it otherwise: a block can be written without our command."""
        return require_usable(self.key.get_secret_value())
