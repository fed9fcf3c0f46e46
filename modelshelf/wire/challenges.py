"""What a 401 asks for. Source: RFC 9110, 11.6.1 (WWW-Authenticate) and 5.6 (tokens, quoted strings, lists)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))")
_PARAMETER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([!#$%&'*+\-.^_`|~0-9A-Za-z]+))")
_BETWEEN = re.compile(r"[ \t,]*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to be let in: the scheme in lower case, and its parameters by name in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse(header: str) -> list[Challenge]:
    """The challenges of a header in order, several header lines joined with commas.

    What follows something malformed is left out, and so is a challenge that gives a parameter twice: two readers could
    understand it differently.
    """
    found: list[tuple[str, list[tuple[str, str]]]] = []
    at = 0
    while (at := _end(_BETWEEN, header, at)) < len(header):
        if found and (parameter := _PARAMETER.match(header, at)) is not None:
            name, quoted, plain = parameter.groups()
            found[-1][1].append((name.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)))
            at = parameter.end()
        elif (scheme := _TOKEN.match(header, at)) is not None:
            found.append((scheme[0].lower(), []))
            at = _end(re.compile(r"[ \t]*"), header, scheme.end())
            if at > scheme.end() and _PARAMETER.match(header, at) is None and (token := _TOKEN68.match(header, at)) is not None:
                at = token.end()
        else:
            break
    return [Challenge(scheme, dict(listed)) for scheme, listed in found if len(dict(listed)) == len(listed)]


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match is not None else at
