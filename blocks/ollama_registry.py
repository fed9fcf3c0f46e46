"""Access to a registry that speaks as Ollama's does."""

from __future__ import annotations

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from modelshelf.sources.ollama import OllamaSource
from modelshelf.sources.uri import OllamaUri


class OllamaRegistry(Block):
    """One registry. `modelshelf login` names the block after the host, and records for which address it is."""

    _block_type_name: ClassVar[str] = "Ollama Registry"
    _block_type_slug: ClassVar[str] = "modelshelf-ollama-registry"

    origin: str = Field(default="", description="The registry's address, `https://host[:port]`; the secret is sent to no other.")
    plain_http: bool = Field(default=False, description="Use http instead of https, for registries on this machine only.")
    user: str = Field(default="", description="The user name for the secret.")
    secret: SecretStr = Field(default=SecretStr(""), description="A password or access token.")
    redirect_hosts: list[str] = Field(
        default=[], description="Trusted hosts in your network that it may redirect to, or that issue its tokens."
    )

    def open(self, uri: OllamaUri) -> OllamaSource:
        return OllamaSource(
            uri,
            plain_http=self.plain_http,
            user=self.user,
            secret=self.secret.get_secret_value(),
            trusted_hosts=frozenset(self.redirect_hosts),
        )
