"""Under which licence a model is, by the text that comes with it."""

from __future__ import annotations

import re

from modelshelf.formats.kinds import Role
from modelshelf.names import FilePath

TEXT_BYTES = 1 << 20
"""A longer file is no licence."""

_FILES = ("license", "licence", "copying")
_TITLE_LETTERS = 80
_KNOWN = (
    (r"apache license,? version 2\.0", "apache-2.0"),
    (r"permission is hereby granted, free of charge, to any person obtaining a copy", "mit"),
    (r"neither the name of .{1,200}may be used to endorse or promote", "bsd-3-clause"),
    (r"llama (\d(?:\.\d)?) community license agreement", r"llama\1"),
    (r"gemma terms of use", "gemma"),
    (r"attribution-noncommercial-sharealike 4\.0 international", "cc-by-nc-sa-4.0"),
    (r"attribution-noncommercial 4\.0 international", "cc-by-nc-4.0"),
    (r"attribution-sharealike 4\.0 international", "cc-by-sa-4.0"),
    (r"attribution 4\.0 international", "cc-by-4.0"),
    (r"gnu affero general public license version 3", "agpl-3.0"),
    (r"gnu general public license version 3", "gpl-3.0"),
)
"""What a text says early on, and the Hub's identifier of it (Hub documentation, "Licenses")."""


def is_license_file(path: FilePath, role: Role) -> bool:
    """A licence's text: a file that is called so, or an Ollama layer, whose only documents are licences."""
    return role is Role.DOC and (path.text.startswith("blobs/sha256-") or path.name.lower().startswith(_FILES))


def recognise(text: bytes) -> str | None:
    """The Hub's identifier of a licence; of one that is not known, its own title; None for nothing readable."""
    lines = [line.strip() for line in text[:TEXT_BYTES].decode("utf-8", "replace").splitlines()]
    words = " ".join(" ".join(lines).split())
    for pattern, name in _KNOWN:
        if (found := re.search(pattern, words[:6000], re.IGNORECASE)) is not None:
            return found.expand(name)
    title = next((line for line in lines if line), "")
    printable = "".join(letter for letter in title if letter.isprintable())
    return printable[:_TITLE_LETTERS] or None
