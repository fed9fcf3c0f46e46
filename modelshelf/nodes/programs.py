"""Which program an engine is on this machine."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelshelf.engines.contract import Engine
from modelshelf.errors import EngineMissing


@dataclass(frozen=True, slots=True)
class Programs:
    """`named` are the executables that the machine's settings put in the place of others, by the setting."""

    named: Mapping[str, str] = field(default_factory=dict)

    def of(self, engine: Engine) -> tuple[str, ...]:
        """Return the program and its first arguments. Raises EngineMissing, with what to install."""
        program = engine.program
        if (named := self.named.get(program.setting)) is not None:
            if (found := shutil.which(named)) is None:
                raise EngineMissing(engine=engine.name, reason=f"{named} cannot be executed", advice=program.setting_advice)
            return (found,)
        if program.module:
            if importlib.util.find_spec(program.package) is None:
                reason = f"the Python package {program.package} is not installed"
                raise EngineMissing(engine=engine.name, reason=reason, advice=program.advice)
            return (sys.executable, "-m", program.module)
        if (found := shutil.which(program.executable)) is None:
            reason = f"there is no `{program.executable}` on PATH"
            raise EngineMissing(engine=engine.name, reason=reason, advice=program.advice)
        return (found,)
