"""How a publisher's text is shown: as it is, and never as a command to a terminal or as markup."""

from __future__ import annotations

import pytest

from modelshelf.words import by_reason, counted, markdown, plain

HOSTILE = "[x](javascript:alert(1)) <img src=x onerror=alert(1)> \x1b[2J\x1b]0;owned\x07 | a\nb\r\u202egpj.exe\u200b `c` & **d**"


def test_nothing_that_a_terminal_obeys_or_hides_is_left_of_a_text() -> None:
    shown = plain(HOSTILE)
    assert all(character.isprintable() for character in shown)
    assert "\\x1b[2J" in shown
    assert "\\x0a" in shown
    assert "\\u202e" in shown


def test_ordinary_text_stays_as_it_is() -> None:
    assert plain("Llama 3.1 – Español 日本語 🚀") == "Llama 3.1 – Español 日本語 🚀"


@pytest.mark.parametrize("markup", ["[", "]", "(", "|", "`", "*", "_", "#", "!", "~"])
def test_no_markup_is_left_unescaped(markup: str) -> None:
    shown = markdown(HOSTILE + markup)
    for index, character in enumerate(shown):
        if character == markup:
            assert shown[index - 1] == "\\"


def test_no_tag_entity_or_address_is_left() -> None:
    shown = markdown(HOSTILE + " https://evil.example www.evil.example a@b.example &#60;")
    assert "<" not in shown
    assert ">" not in shown
    assert "://" not in shown
    assert "javascript:" not in shown
    assert "&amp;\\#60;" in shown
    assert "\n" not in shown


@pytest.mark.parametrize("blank", ["\u3164", "\u115f", "\u2800", "\u034f", "\ue000", "\U000f0000"])
def test_a_letter_that_looks_like_nothing_is_shown(blank: str) -> None:
    """A name, or a licence, that is made of them would be an empty cell."""
    assert plain(blank) == blank.encode("ascii", "backslashreplace").decode()


def test_one_of_a_thing_is_not_many() -> None:
    assert [counted(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


def test_files_of_one_reason_share_a_line_and_many_are_counted() -> None:
    lines = ["a.bin: another form", "run.py: code (x: y)", *(f"onnx/{number}.onnx: another form" for number in range(5))]
    assert by_reason(lines, most=3) == [
        "a.bin, onnx/0.onnx, onnx/1.onnx and 3 more: another form",
        "run.py: code (x: y)",
    ]
