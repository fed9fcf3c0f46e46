"""How long a busy server asks us to wait.

Sources: RFC 9110, 10.2.3 (`Retry-After`); the IETF drafts of `RateLimit`, which the Hub sends.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(r"[0-9]{1,9}")


def seconds_asked(headers: Mapping[str, str], now: float | None = None) -> int | None:
    """The wait in whole seconds, never negative; None if the headers name none that can be read.

    `Retry-After` comes first. In `RateLimit: "api";r=0;t=50` the quota that is used up (`r=0`) counts, else the longest.
    """
    if (asked := headers.get("retry-after")) is not None:
        return _number(asked) if _number(asked) is not None else _until(asked, time.time() if now is None else now)
    if (limits := headers.get("ratelimit")) is not None:
        quotas = [dict(re.findall(r";\s*([rt])\s*=\s*([0-9]{1,9})(?![0-9])", quota)) for quota in limits.split(",")]
        spent = [quota for quota in quotas if quota.get("r") == "0"] or quotas
        waits = [int(quota["t"]) for quota in spent if "t" in quota]
        if waits:
            return max(waits)
    return _number(headers.get("ratelimit-reset", ""))


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _until(date: str, now: float) -> int | None:
    try:
        return max(0, math.ceil(parsedate_to_datetime(date).timestamp() - now))
    except (ValueError, OverflowError):
        return None
