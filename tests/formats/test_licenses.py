"""Licences by their own text, by the header, by the publisher; and a library that takes only some of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelshelf.errors import LicenseRefused
from modelshelf.formats.licenses import recognise
from modelshelf.library import licensing
from modelshelf.library.opening import Library
from tests.making import bring_in, gguf, hub_source, ollama_source, safetensors
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

APACHE = "\n                                 Apache License\n                           Version 2.0, January 2004\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (APACHE, "apache-2.0"),
        ("MIT License\n\nCopyright (c) 2026 X\n\nPermission is hereby granted, free of charge, to any\nperson obtaining a copy", "mit"),
        ("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version Release Date", "llama3.2"),
        ("Gemma Terms of Use\n\nLast modified", "gemma"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "cc-by-nc-4.0"),
        ("\n\n  Our Own Licence, v3\x07\nbe kind", "Our Own Licence, v3"),
        ("", None),
        ("\n \n", None),
    ],
)  # fmt: skip
def test_a_licence_is_known_by_its_text_else_called_by_its_title(text: str, name: str | None) -> None:
    assert recognise(text.encode()) == name


def test_an_ollama_models_licence_is_that_of_its_licence_layer(library: Library, registry: OllamaRegistry) -> None:
    registry.add_model("library/tiny", "1b", gguf(), license=APACHE)
    version, _ = bring_in(library, ollama_source(registry))
    assert version.license == "apache-2.0"


def test_a_header_tells_it_where_nothing_else_does_and_the_publisher_wins(
    library: Library, registry: OllamaRegistry, hub: Hub
) -> None:
    weights = gguf(**{"general.license": "mit"})
    registry.add_model("library/tiny", "1b", weights)
    assert bring_in(library, ollama_source(registry))[0].license == "mit"
    hub.repo("org/m").commit({"m.gguf": weights, "LICENSE": APACHE.encode()})
    assert bring_in(library, hub_source(hub, "org/m"))[0].license == "apache-2.0"


def taking(library: Library, *licenses: str) -> Library:
    return replace(library, settings=replace(library.settings, licenses=licenses))


def test_weights_under_a_licence_that_is_not_taken_are_not_fetched(library: Library, registry: OllamaRegistry) -> None:
    weights = gguf(400_000)
    registry.add_model("library/tiny", "1b", weights, license="LLAMA 3.2 COMMUNITY LICENSE AGREEMENT")
    sent = registry.body_bytes
    with pytest.raises(LicenseRefused, match=r"licence llama3\.2; this library accepts apache-2\.0, mit.*config\.toml"):
        bring_in(taking(library, "apache-2.0", "mit"), ollama_source(registry))
    assert registry.body_bytes - sent < len(weights), "no byte of the weights"
    version, _ = bring_in(taking(library, "llama3.2"), ollama_source(registry))
    assert version.state == "ready"


def test_an_unknown_licence_is_refused_only_where_licences_are_asked_for(library: Library, hub: Hub) -> None:
    hub.repo("org/m").commit({"config.json": b"{}", "model.safetensors": safetensors()})
    with pytest.raises(LicenseRefused, match="unknown"):
        bring_in(taking(library, "mit"), hub_source(hub, "org/m"))
    assert bring_in(library, hub_source(hub, "org/m"))[0].license is None
    licensing.require_allowed(library, None, "x")
