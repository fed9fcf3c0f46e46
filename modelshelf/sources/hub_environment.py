"""What the environment says of the Hub, in the variables that the Hub's own programs read. A stored block wins over all of it.

Source: huggingface_hub, environment variables. The environment is the run's own: what the worker was started with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelshelf.errors import BadSetting, UnexpectedAnswer
from modelshelf.wire import Url

PUBLIC = "https://huggingface.co"
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
NAMES = ("HF_ENDPOINT", *_TOKENS, "HF_TOKEN_PATH")


@dataclass(frozen=True, slots=True)
class HubEnvironment:
    """An endpoint and a token; `sources` names the variables that they are from."""

    endpoint: str
    token: str = field(repr=False)
    sources: tuple[str, ...]

    def __str__(self) -> str:
        if not self.sources:
            return f"the Hub's address is {self.endpoint}, without a token"
        given = {name: "address" if name == "HF_ENDPOINT" else "token" for name in self.sources}
        return f"the Hub's address is {self.endpoint} ({', '.join(f'{what} from {name}' for name, what in given.items())})"


def read(environment: Mapping[str, str]) -> HubEnvironment:
    """Return what these variables say; the public Hub without a token where they say nothing. Raises BadSetting."""
    sources = []
    if endpoint := environment.get("HF_ENDPOINT", "").strip().rstrip("/"):
        sources.append("HF_ENDPOINT")
        endpoint = endpoint_of(endpoint, where="HF_ENDPOINT")
    token = ""
    for name in _TOKENS:
        if not token and (token := environment.get(name, "").strip()):
            sources.append(name)
    if not token and (path := environment.get("HF_TOKEN_PATH", "").strip()):
        try:
            token = Path(path).expanduser().read_text().strip()
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a home that there is not
            raise BadSetting(where="HF_TOKEN_PATH", reason=f"{path} cannot be read ({error})") from error
        sources.append("HF_TOKEN_PATH")
    return HubEnvironment(endpoint or PUBLIC, token, tuple(sources))


def endpoint_of(text: str, *, where: str) -> str:
    """Return a Hub's address, with the path that a mirror may have. Raises BadSetting, in which no login is repeated."""
    try:
        url = Url(text.strip().rstrip("/"))
    except UnexpectedAnswer as error:
        reason = f"{error.facts['reason']}; expected `https://host[:port][/path]`, without a token"
        raise BadSetting(where=where, reason=reason) from error
    if "?" in url.text:
        raise BadSetting(where=where, reason=f"{str(url)!r} contains a query, and a Hub's address has none")
    return url.text


def differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that do not say the same in both environments."""
    return [name for name in NAMES if ours.get(name, "") != theirs.get(name, "")]
