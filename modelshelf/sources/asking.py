"""What somebody asks to take from a source, and how the same is asked for otherwise: the commands that messages print."""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace

from modelshelf.sources.uri import FilesystemUri, FolderUri, HuggingFaceUri
from modelshelf.words import plain

ChoosableUri = HuggingFaceUri | FolderUri | FilesystemUri
"""Sources that hold more files than the model needs."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A source, the part of it that is wanted, and shell patterns over the names of its files."""

    uri: ChoosableUri
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_code: bool = False

    @property
    def wanted(self) -> str | None:
        """The quantisation, or the file of weights, that the source's own spelling names after a colon."""
        return self.uri.quantization

    @property
    def what(self) -> str:
        return str(replace(self.uri, quantization=None))

    def takes(self, name: str) -> bool:
        """Return whether the patterns let this name pass."""
        included = not self.include or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.include)
        return included and not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.exclude)

    def command(self, wanted: str | None = None, *, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> str:
        """Return the command that asks for `wanted` instead, with these patterns (quoted already) beside its own."""
        verb = "register" if isinstance(self.uri, FilesystemUri) else "import"
        words = ["modelshelf", verb, shlex.quote(str(replace(self.uri, quantization=wanted)))]
        words += [f"--include {pattern}" for pattern in (*map(shlex.quote, self.include), *include)]
        words += [f"--exclude {pattern}" for pattern in (*map(shlex.quote, self.exclude), *exclude)]
        return plain(" ".join(words + ["--allow-code"] * self.allow_code))
