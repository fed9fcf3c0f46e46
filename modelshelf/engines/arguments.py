"""The arguments of an engine that modelshelf decides: a user's own come after them, and would win."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from modelshelf.errors import BadSetting


def require_undecided(arguments: Sequence[str], decided: Mapping[str, str], short: Collection[str] = ()) -> None:
    """Raise BadSetting if an argument is one of the options, also in another spelling that its engine takes for it.

    `decided` is each long option with what is to be given in its place, `short` the options of one dash that are none of the
    user's. llama.cpp and vLLM read `_` as `-`; vLLM also reads `--option=value` and the beginning of an option's name.
    """
    for argument in arguments:
        name = argument.partition("=")[0].replace("_", "-")
        if name in short:
            raise BadSetting(where="an argument of the engine", reason=f"{name} is decided by modelshelf; leave it out")
        for option, instead in decided.items():
            if len(name) > len("--") and name.startswith("--") and option.startswith(name):
                raise BadSetting(where="an argument of the engine", reason=f"{option} is decided by modelshelf; {instead}")
