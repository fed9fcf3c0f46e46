"""Content: files, weights, manifests and what a publisher put beside them."""

from __future__ import annotations

from modelshelf.failures import OfAnyLayer, Refused


class DigestMismatch(OfAnyLayer, Refused):
    """{what} is not the file that {whose} lists: expected {expected}, received {found} (all {size} bytes). If every attempt
    fails the same way, something between this machine and {whose} alters the file."""


class SizeMismatch(OfAnyLayer, Refused):
    """{what} is not the file that {whose} lists: expected {expected} bytes, received {found}. If every attempt fails the
    same way, something between this machine and {whose} alters the file."""


class NotWhatItSays(OfAnyLayer, Refused):
    """{file} is not what its name says: {reason}. Nothing in it was executed."""


class FormatRefused(OfAnyLayer, Refused):
    """{what} needs files of kinds that are not accepted: {files}. Ask the publisher for safetensors or GGUF{advice}."""


class LargeFilePointer(OfAnyLayer, Refused):
    """{file} is a Git LFS pointer, not the file itself. Run `git lfs pull` in the clone; if the publisher committed the
    pointer, ask the publisher to upload the file."""


class NotWhole(OfAnyLayer, Refused):
    """{what} lacks files that {whose} lists: {missing}. Fetch the missing files, or ask the publisher for them."""


class NamesCode(OfAnyLayer, Refused):
    """{file} names code of the publisher that an engine may run ({named}){files}. If you trust the publisher, repeat the
    command with `--allow-code`: the code is imported too, and no import runs it."""


class LicenseRefused(Refused):
    """{what} is under the licence {license}; this library accepts {allowed}. No version was made ready. To accept it, add its
    licence to `licenses` in {config}."""


class BadHeader(OfAnyLayer, Refused):
    """{file} has a broken {format} header: {reason}. Ask the publisher for an intact file."""


class BadJson(OfAnyLayer, Refused):
    """{file} is not JSON that we accept: {reason}."""


class BadManifest(OfAnyLayer, Refused):
    """The manifest of {what} is refused: {reason}."""


class NothingToImport(OfAnyLayer, Refused):
    """{what} has no files to import{detail}."""


class SeveralModels(OfAnyLayer, Refused):
    """{what} holds several models, and one was expected: {choices}. Choose one: `{example}`."""


class NoModelAmong(OfAnyLayer, Refused):
    """{what} holds no model that can be served on its own: {found}. An adapter or a projector belongs to a base model:
    import the base model together with that file."""


class ShardsMissing(OfAnyLayer, Refused):
    """{what} is incomplete: {file} belongs to a set of {expected} files, and {found} of them are present. Import the folder
    or repository that has all of them."""


class ChooseQuantization(OfAnyLayer, Refused):
    """{what} holds several quantisations: {choices}. Choose one, for example: `{example}`."""


class UnknownQuantization(OfAnyLayer, Refused):
    """{what} has no {wanted}: it has {choices}. Choose one of these, for example: `{example}`."""


class OnlyInPieces(OfAnyLayer, Refused):
    """{what} has {wanted} only in pieces: {files}. Join the pieces and import the joined file, or choose another quantisation:
    {choices}. For example: `{example}`."""


class ChooseModel(OfAnyLayer, Refused):
    """{what} holds several models: {choices}. Choose one: {commands}."""
