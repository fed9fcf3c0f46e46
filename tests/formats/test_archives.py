"""Archives from outside are never opened: refused by their names, by their bytes under any other, and by there being no code."""

from __future__ import annotations

import ast
import bz2
import gzip
import io
import lzma
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modelshelf.errors import NotWhatItSays
from modelshelf.formats.allowed import inspect_file, role_of, why_not
from modelshelf.library.opening import Library
from modelshelf.names import FilePath
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from tests.making import bring_in, gguf, safetensors, write

ROOT = Path(__file__).parents[2]


def _tar(fill: Callable[[tarfile.TarFile], None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        fill(archive)
    return out.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[[tarfile.TarFile], None]:
    def fill(archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        archive.addfile(member)

    return fill


def _zip(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings(action="ignore"):
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


REJECT = {
    "a tar with a link that leaves": _tar(_member("model.safetensors", tarfile.SYMTYPE, "/etc/passwd")),
    "a tar with a hard link": _tar(_member("a", tarfile.LNKTYPE, "../../b")),
    "a tar with a device": _tar(_member("null", tarfile.CHRTYPE)),
    "a tar with a pipe": _tar(_member("pipe", tarfile.FIFOTYPE)),
    "a tar with a sparse member": _tar(_member("sparse", tarfile.GNUTYPE_SPARSE)),
    "a tar with a path that leaves": _tar(_member("../../evil")),
    "a zip with one name twice": _zip(("a.json", b"1"), ("a.json", b"2")),
    "a zip of an absurd ratio": _zip(("zeros", bytes(20_000_000))),
    "an empty zip": _zip(),
    "gzip": gzip.compress(b"x" * 1000),
    "bzip2": bz2.compress(b"x" * 1000),
    "xz": lzma.compress(b"x" * 1000),
    "zstandard": b"\x28\xb5\x2f\xfd\x24\x03\x19\x00\x00abc",
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(24),
    "rar": b"Rar!\x1a\x07\x01\x00" + bytes(24),
}
ACCEPT = {
    "model.gguf": gguf(),
    "model.safetensors": safetensors(),
    "config.json": b'{"ustar": 1}' + b" " * 245 + b"\nustar is a word",
    "vocab.txt": b"PKI\nRare\nBZ\n7zip\n",
    "README.md": b"a text about ustar archives",
}


@pytest.mark.parametrize("what", REJECT)
@pytest.mark.parametrize("name", ["notes.txt", "tokenizer.model", "README.md", "model.safetensors", "config.json"])
def test_an_archive_is_refused_under_every_name(what: str, name: str) -> None:
    content = REJECT[what]
    with pytest.raises(NotWhatItSays):
        inspect_file(io.BytesIO(content), len(content), FilePath(name))


@pytest.mark.parametrize("name", ACCEPT)
def test_what_only_speaks_of_archives_is_taken(name: str) -> None:
    inspect_file(io.BytesIO(ACCEPT[name]), len(ACCEPT[name]), FilePath(name))


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"])
def test_an_archive_is_refused_by_its_own_name(suffix: str) -> None:
    assert role_of(f"weights{suffix}") is None
    assert "archives are not opened" in why_not(f"weights{suffix}")


def test_an_import_with_a_disguised_archive_stores_nothing_that_is_listed(tmp_path: Path, library: Library) -> None:
    write(tmp_path / "m" / "model.safetensors", safetensors())
    write(tmp_path / "m" / "notes.txt", REJECT["a tar with a link that leaves"])
    with pytest.raises(NotWhatItSays, match="archive"):
        bring_in(library, FolderSource(FolderUri(tmp_path / "m")))


def test_nothing_of_ours_can_open_an_archive() -> None:
    """No module imports what reads archives, and none calls what extracts them."""
    for path in (
        file for folder in ("modelshelf", "flows", "tasks", "blocks", "deployments") for file in (ROOT / folder).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not {"tarfile", "zipfile", "gzip", "bz2", "lzma", "zipimport"} & set(names), path
            assert not isinstance(node, ast.Attribute) or node.attr not in ("extractall", "unpack_archive"), path
