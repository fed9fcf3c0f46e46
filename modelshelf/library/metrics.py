"""What a monitor wants to know, as a text file that Prometheus' node exporter collects."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from modelshelf.catalog import blobs, instances, replicas, versions
from modelshelf.durable import write_whole
from modelshelf.library.opening import Library
from modelshelf.library.running import seen_state
from modelshelf.states import InstanceState


def file_of(library: Library) -> Path:
    """Where the metrics are: point the node exporter's textfile collector at the home folder, or link it there."""
    return library.settings.home / "metrics.prom"


def write_metrics(library: Library) -> Path:
    """The file is there, whole, and says what was seen just now. Sizes in bytes, times in seconds."""
    registry = CollectorRegistry()

    def gauge(name: str, help: str, *labels: str) -> Gauge:
        return Gauge(f"modelshelf_{name}", help, labels, registry=registry)

    with library.catalog.reading() as connection:
        states = versions.count_by_state(connection)
        many, stored = blobs.total(connection, library.store_id)
        kept = replicas.kept(connection, library.node_id)
        started = instances.on_node(connection, library.node_id)
    versions_gauge = gauge("versions", "Versions by state.", "state")
    for state, count in states.items():
        versions_gauge.labels(state).set(count)
    gauge("blobs", "Blobs that the catalog counts on.").set(many)
    gauge("blob_bytes", "Bytes of these blobs.").set(stored)
    gauge("partial_bytes", "Bytes of downloads that are not finished.").set(sum(one.arrived for one in library.store.arriving()))
    gauge("free_bytes", "Free bytes where content arrives.").set(library.store.free_bytes())
    gauge("replicas", "Versions on the node.", "node").labels(str(library.node_at.name)).set(len(kept))
    gauge("replica_bytes", "Their bytes, links counted as if they were copies.", "node").labels(str(library.node_at.name)).set(
        sum(one.size for one in kept)
    )
    up = gauge("instance_ready", "1 if the instance is ready as seen just now.", "project", "instance", "engine")
    stages = gauge("instance_start_seconds", "Its last start, by stage.", "project", "instance", "stage")
    for one in started:
        up.labels(str(one.project), str(one.name), one.engine).set(seen_state(library, one)[0] == InstanceState.READY)
        for stage, seconds in one.stages.items():
            stages.labels(str(one.project), str(one.name), stage).set(seconds)
    path = file_of(library)
    write_whole(path, generate_latest(registry), mode=0o644)
    return path
