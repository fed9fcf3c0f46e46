"""Why an engine ended, picked from its log: the reason stands above the tracebacks, which fill the last lines."""

from __future__ import annotations

import re

_REASON = re.compile(
    r"\b[A-Z]\w*(?:Error|Exception)\b(?:: | \()"  # the last line of a Python traceback
    r"|\bGGML_ASSERT\("
    r"|\berror: "
    r"|unrecognized arguments"
    r"|bad_alloc|out of memory|\bOOM\b|Cannot allocate memory"
    r"|\bpanic: |\bfatal error: ",
    re.IGNORECASE,
)
_CONSEQUENCE = re.compile(r"Engine core initialization failed|EngineDeadError|EngineGenerateError|See root cause above")
"""What vLLM's other processes print when one of them has failed."""


def first_reason(log: str) -> str | None:
    """Return the first line that names an error which is not the consequence of another."""
    for line in log.splitlines():
        if _REASON.search(line) and not _CONSEQUENCE.search(line):
            return " ".join(line.split())
    return None
