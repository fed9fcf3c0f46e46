"""Every bound of the library, in one frozen value. Sizes in bytes, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Limits:
    """What we take from outside, and how long we wait for it. Anything beyond is refused, never truncated."""

    # names and manifests
    manifest_bytes: int = 4 * MiB
    """The distribution specification asks registries to take manifests of at least 4 MiB; nobody needs more."""
    files: int = 20_000
    path_bytes: int = 1_024
    read_while_choosing: int = 200
    """Indexes and configurations of a source that are read before its files are chosen."""
    file_bytes: int = 4_096 * GiB
    model_bytes: int = 16_384 * GiB

    # headers of weights, and JSON
    header_bytes: int = 100_000_000
    """The bound that the safetensors reference reader uses for its header."""
    json_depth: int = 64
    json_digits: int = 30
    json_values: int = 4_000_000
    """Values of one document, by its commas and brackets: the shortest takes two bytes of a file, and up to 80 of memory."""
    gguf_entries: int = 100_000
    gguf_array_items: int = 10_000_000
    gguf_string_bytes: int = 64 * MiB
    tensors: int = 1_000_000
    tensor_dimensions: int = 8
    ollama_parameters_bytes: int = 1 * MiB

    # HTTP
    redirects: int = 5
    response_header_bytes: int = 64 * KiB
    response_headers: int = 200
    api_body_bytes: int = 64 * MiB
    event_bytes: int = 1 * MiB
    api_pages: int = 500
    token_bytes: int = 64 * KiB
    error_body_bytes: int = 2 * KiB
    connect_seconds: int = 15
    api_seconds: int = 60
    prefect_seconds: int = 30
    probe_seconds: int = 3
    stall_bytes_per_second: int = 1 * KiB
    stall_seconds: int = 30
    retry_after_seconds: int = 120
    attempts: int = 5
    backoff_seconds: float = 0.5

    # downloads
    part_bytes: int = 16 * MiB
    """Small enough that the front of a file, which is hashed, moves on steadily while several parts arrive."""
    parts_at_once: int = 8
    files_at_once: int = 4
    abandoned_seconds: int = 7 * 86_400
    """A download that nobody went on with for so long is not kept any more."""
    free_bytes_kept: int = 512 * MiB
    """Left free on the store's file system: a full disk would stop the catalog too."""

    # audits
    rehash_nights: int = 25
    """A nightly part is that share of the store's bytes: all of it is read within a month, with some nights to spare."""
    rehash_seconds: int = 4 * 3600

    # leases
    lease_seconds: int = 30
    lock_seconds: float = 30.0
    """How long one waits for who removes or replaces the very file, a moment's work unless that process is paused."""

    # engines
    engine_start_seconds: int = 600
    engine_quiet_seconds: int = 60
    """A start that logs nothing for so long is reported while it is waited for."""
    engine_stop_seconds: int = 20
    recovery_attempts: int = 8
    """So often what is lost is tried again; with these waits, for about four hours."""
    recovery_seconds: int = 60
    """The wait before the second try; each wait is twice the one before, up to the longest."""
    recovery_seconds_most: int = 3_600
    recovered_seconds: int = 600
    """An engine that has run for so long counts as steady: its tries are forgotten."""
    engine_look_seconds: int = 5
    """How long a question about an instance waits for its engine."""
    differing_at_once: int = 500
    """Replicas that are not as they should be, in one pass: the rest waits for the next."""
    context_tokens: int = 8_192
    """What llama.cpp reserves memory for at its start, unless the model's context is shorter or `--ctx-size` is given:
    1 GiB for a model of 8 billion parameters."""
    batch_tokens: int = 2_048
    """llama.cpp's default of the logical batch."""
    log_tail_lines: int = 20


DEFAULT = Limits()
