"""Access to a Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from modelshelf.sources.uri import HuggingFaceUri

if TYPE_CHECKING:
    from modelshelf.sources.huggingface import HuggingFaceSource


class HuggingFaceHub(Block):
    """An endpoint that speaks as huggingface.co does, and the token that is shown to it and to nobody else."""

    _block_type_name: ClassVar[str] = "Hugging Face Hub"
    _block_type_slug: ClassVar[str] = "modelshelf-hugging-face-hub"

    endpoint: str = Field(default="https://huggingface.co", description="The Hub's address.")
    token: SecretStr = Field(default=SecretStr(""), description="An access token, for gated and private repositories.")
    redirect_hosts: list[str] = Field(default=[], description="Trusted hosts in your network that the Hub may redirect to.")

    def open(self, uri: HuggingFaceUri, include: Sequence[str], exclude: Sequence[str], *, allow_code: bool) -> HuggingFaceSource:
        from modelshelf.sources.huggingface import HuggingFaceSource  # slow to load; other flows do without

        return HuggingFaceSource(
            uri,
            endpoint=self.endpoint,
            token=self.token.get_secret_value(),
            include=include,
            exclude=exclude,
            allow_code=allow_code,
            trusted_hosts=frozenset(self.redirect_hosts),
        )
