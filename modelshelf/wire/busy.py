"""How long a busy server asks us to wait.

Sources: RFC 9110, 10.2.3 (`Retry-After`); the IETF drafts of `RateLimit`, which the Hub sends.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(r"([0-9]{1,40})(\.[0-9]{1,40})?", re.ASCII)
_LONGEST = 10**9
"""Longer waits are all the same: over every limit."""


def seconds_asked(headers: Mapping[str, str], now: float | None = None) -> int | None:
    """The wait in whole seconds, never negative; None if the headers name none that can be read.

    `Retry-After` comes first. In `RateLimit: "api";r=0;t=50` the quota that is used up (`r=0`) counts, else the longest.
    """
    if (asked := headers.get("retry-after")) is not None:
        return _number(asked) if _number(asked) is not None else _until(asked, time.time() if now is None else now)
    if (limits := headers.get("ratelimit")) is not None:
        quotas = [dict(re.findall(r";\s*([rt])\s*=\s*([0-9.]+)", quota)) for quota in limits.split(",")]
        spent = [quota for quota in quotas if quota.get("r") == "0"] or quotas
        waits = [wait for quota in spent if (wait := _number(quota.get("t", ""))) is not None]
        if waits:
            return max(waits)
    return _number(headers.get("ratelimit-reset", ""))


def _number(text: str) -> int | None:
    """Return the number, a fraction rounded up; None for anything else."""
    if (found := _NUMBER.fullmatch(text.strip())) is None:
        return None
    return min(int(found[1]) + (found[2] is not None and found[2].strip(".0") != ""), _LONGEST)


def _until(date: str, now: float) -> int | None:
    try:
        return min(max(0, math.ceil(parsedate_to_datetime(date).timestamp() - now)), _LONGEST)
    except (ValueError, OverflowError):
        return None
