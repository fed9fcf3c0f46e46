"""The pages name what there is: every command, every flow, every test, and no link leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from modelshelf.cli.main import _MODULES

ROOT = Path(__file__).parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
HOW_TO = (ROOT / "docs" / "how-to.md").read_text()


@pytest.mark.parametrize("command", [name for names in _MODULES.values() for name in names])
def test_each_command_is_a_verb_of_the_how_to(command: str) -> None:
    first = [line.split("|")[1] for line in HOW_TO.splitlines() if line.startswith("|")]
    assert re.search(rf"\b{command}\b", " ".join(first))


@pytest.mark.parametrize(
    "stated", yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"], ids=lambda one: one["entrypoint"]
)
def test_each_flow_is_named_in_the_how_to(stated: dict[str, str]) -> None:
    flow = stated["entrypoint"].rpartition(".")[2].replace("_", "-")
    assert f"`{flow}`" in HOW_TO


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    linked = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    missing = [target for target in linked if not (page.parent / target).exists()]
    named = [
        path
        for path in re.findall(r"`((?:tests|modelshelf|flows|tasks|blocks|deployments|docs)/[\w/.-]+)`", text)
        if not (ROOT / path).exists()
    ]
    assert (missing, named) == ([], [])
