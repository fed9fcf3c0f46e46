"""Through the browser: log in, fill the form of an import, see it complete, and see its report.

With MODELSHELF_SCREENSHOTS=FOLDER the pages are kept as pictures: that is how those in docs/ are made.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.live.conftest import Shelf
from tests.live.test_runs import until
from tests.making import gguf
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live
LOADED = 30_000


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of a headless Chromium that counts every address outside this machine as a failure."""
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("the program chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("the package playwright")
    outside: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 960})
        page.on("request", lambda request: None if "//127.0.0.1:" in request.url else outside.append(request.url))
        yield page
        browser.close()
    assert [url for url in outside if url.startswith("http")] == [], "the UI asks nobody but this machine"


def keep(page: Any, name: str) -> None:
    if folder := os.environ.get("MODELSHELF_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def submit(page: Any, form: Any) -> None:
    """Press Submit until the page moves on: the form takes over what was typed only some moments after it shows it."""
    from playwright.sync_api import TimeoutError as TooSlow

    for _ in range(5):
        form.locator("button", has_text="Submit").click(timeout=LOADED)
        try:
            page.wait_for_url("**tab=Runs**", timeout=6_000)
        except TooSlow:
            continue
        return
    pytest.fail("the form was never taken")


def test_a_person_logs_in_fills_the_form_of_an_import_and_sees_its_report(
    shelf: Shelf, registry: OllamaRegistry, hub: Hub, page: Any
) -> None:
    registry.add_model("library/qwen3", "0.6b", gguf(seed=13), template="t", license="Apache License 2.0")
    shelf.login(registry, hub)
    url = json.loads((shelf.settings.run / "server.json").read_text())["url"]
    secret = (shelf.settings.secrets / "auth-string").read_text().strip()

    first = shelf.api.create_run("reconcile/reconcile-every-five-minutes", {}, "before-the-dashboard")["id"]
    until(lambda: shelf.api.run(first)["state_type"] == "COMPLETED")  # a dashboard that never saw a run is another page
    page.goto(url)
    page.locator("input").first.wait_for(timeout=LOADED)
    page.wait_for_load_state("networkidle", timeout=LOADED)
    page.locator("text=Oops").first.wait_for(state="hidden", timeout=LOADED)
    keep(page, "login")
    assert "Prefect Cloud" not in page.locator("body").inner_text()
    page.locator("input").first.fill(secret, timeout=LOADED)
    page.keyboard.press("Enter")
    page.locator("text=Deployments").first.wait_for(timeout=LOADED)
    page.locator("text=Flow Runs").first.wait_for(timeout=LOADED)
    page.locator(".p-toast").first.wait_for(state="detached", timeout=LOADED)
    keep(page, "dashboard")
    shown = page.locator("body").inner_text()
    for words in ("Oops", "Authentication failed", "Cloud", "V2 UI"):
        assert words not in shown, words

    page.goto(f"{url}/deployments")
    page.locator("a[href*='/deployments/deployment/']").first.wait_for(timeout=LOADED)
    keep(page, "deployments")

    (deployment,) = [one for one in shelf.api.deployments() if one["entrypoint"] == "flows.import_ollama.import_ollama"]
    page.goto(f"{url}/deployments/deployment/{deployment['id']}/run")
    form = page.locator("form")
    form.locator("text=As for").wait_for(timeout=LOADED)
    assert "The model's name in the library" in form.inner_text(), "each field has its words"
    form.locator("textarea").first.fill(f"{registry.host}/library/qwen3:0.6b")
    keep(page, "form")
    submit(page, form)
    run = until(lambda: [one for one in shelf.api.runs(5) if one["deployment_id"] == deployment["id"]])[0]
    page.goto(f"{url}/runs/flow-run/{run['id']}")
    page.locator("text=Completed").first.wait_for(timeout=60_000)
    page.locator("text=import 127.0.0.1").first.wait_for(timeout=LOADED)
    keep(page, "run")

    asked = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "key": {"any_": ["import-qwen3"]}}}
    (report,) = shelf.api._send("POST", "artifacts/filter", asked)
    page.goto(f"{url}/artifacts/artifact/{report['id']}")
    page.locator("text=is ready").first.wait_for(timeout=LOADED)
    assert "sha256:" in page.locator("main, body").first.inner_text()
    keep(page, "report")
    assert [one["model"] for one in shelf.json("list")] == ["qwen3"]
