"""Where models are published: one file a source, behind `contract.Source`.

    pin         what a moving name means now: a commit, a manifest's digest, the names, sizes and times of a folder's files
    list_files  every file of the pin, with its size and, where the source tells, what proves it; no file is fetched
    Body        how one file comes: `transfer.download.Remote` in ranges, `transfer.local.LocalFile` from this machine's disk

What changed between the pin and the listing is refused, or listed as it was pinned; what changed after the listing is refused
while it arrives. A source knows no catalog and no store, asks no host but its own, and executes nothing that is published.

A new source is a file here, its written form in `uri`, a pass of `tests/sources/suite.py` (see `tests/sources/test_contract.py`),
and a flow and an origin in the project's folders.
"""
