"""Why an engine ended, picked from its log: the reason stands above the tracebacks, which fill the last lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PROCESS = r"^(?:\(\w+ pid=\d+\) )*"
"""vLLM names the process that a line is of."""
_LLAMA_TIME = r"\d+\.\d\d\.\d{3}\.\d{3}"
_HEAD = re.compile(rf"{_PROCESS}(?:(?:CRITICAL|ERROR) \d\d-\d\d [\d:]{{8}} \[[^\]]*\] |{_LLAMA_TIME} E )?")
"""What stands before the text of an error: process, level, time and place; in llama.cpp time and level."""
_LLAMA_ERROR = re.compile(rf"^{_LLAMA_TIME} E ")
_HARMLESS = re.compile(
    rf"{_PROCESS}(?:INFO|WARNING|DEBUG) \d\d-\d\d |^{_LLAMA_TIME} [IWDT] |\blevel=(?:INFO|WARN|DEBUG)\b"  # Ollama's last
)
_REASON = re.compile(
    r"\b[A-Z]\w*(?:Error|Exception)(?:: |$)"  # the last line of a Python traceback
    r"|\bGGML_ASSERT\(|^\s*what\(\): |^panic: |\blevel=ERROR\b"
    r"|(?i:\berror: |unrecognized arguments|bad_alloc|out of memory|cannot allocate memory)"
)
_CONSEQUENCE = re.compile(
    r"Engine core initialization failed|EngineDeadError|EngineGenerateError|EngineCore failed to start|Failed to init server"
)
"""What vLLM prints when one of its processes has failed, and the wheel xllamacpp when its server has."""
_FIRST_OF_TWO = re.compile(r"\bvalidation errors? for \w+$")
"""Pydantic gives the value and the reason in the next line."""
_WITHOUT_WORDS = re.compile(r"\b[A-Z]\w*(?:Error|Exception)$")
"""An assertion without a message: the line of code before it is the reason."""


def first_reason(log: str) -> str | None:
    """Return the first line that names an error which is not the consequence of another, without its time and place."""
    lines = log.splitlines()
    for number, line in enumerate(lines):
        text = _text(line)
        if _HARMLESS.search(line) or _CONSEQUENCE.search(line) or not (_REASON.search(text) or _LLAMA_ERROR.search(line)):
            continue
        if _FIRST_OF_TWO.search(text) and number + 1 < len(lines):
            return f"{text}: {_text(lines[number + 1])}"
        return f"{text}: {_code_before(lines[:number])}" if _WITHOUT_WORDS.search(text) else text
    return None


def _code_before(lines: Sequence[str]) -> str:
    """Return the last line that is not the underlining of another."""
    return next((text for line in reversed(lines) if (text := _text(line)).strip("^~ ")), "")


def _text(line: str) -> str:
    return " ".join(_HEAD.sub("", line).split())
