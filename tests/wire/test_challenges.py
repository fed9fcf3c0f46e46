"""What a 401 asks for, read as RFC 9110 writes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelshelf.wire.challenges import Challenge, parse

READ = [
    ('Bearer realm="https://a/t",service="s",scope="x y"', [("bearer", {"realm": "https://a/t", "service": "s", "scope": "x y"})]),
    ("Bearer realm=token,service=s", [("bearer", {"realm": "token", "service": "s"})]),
    ('Basic realm="a, b", Bearer realm="c"', [("basic", {"realm": "a, b"}), ("bearer", {"realm": "c"})]),
    ('Bearer realm = "c" , service = s', [("bearer", {"realm": "c", "service": "s"})]),
    (r'Bearer realm="a \"quoted\" \\ word"', [("bearer", {"realm": 'a "quoted" \\ word'})]),
    ("Negotiate, Basic", [("negotiate", {}), ("basic", {})]),
    ('Negotiate dG9rZW4=, Basic realm="b"', [("negotiate", {}), ("basic", {"realm": "b"})]),
    ('NTLM abc, Digest qop="auth,auth-int", algorithm=MD5, BASIC REALM="b"',
     [("ntlm", {}), ("digest", {"qop": "auth,auth-int", "algorithm": "MD5"}), ("basic", {"realm": "b"})]),
    (',, Bearer realm="r" ,,', [("bearer", {"realm": "r"})]),
    ("", []),
    ('realm="r"', [("realm", {})]),
    ('Bearer realm="r", realm="other", Basic realm="b"', [("basic", {"realm": "b"})]),
    ('Basic realm="b", Bearer realm="never closed', [("basic", {"realm": "b"}), ("bearer", {})]),
]  # fmt: skip


@pytest.mark.parametrize(("header", "expected"), READ, ids=[header[:40] for header, _ in READ])
def test_a_challenge_is_read_as_it_is_written(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse(header)[: len(expected)] == [Challenge(scheme, parameters) for scheme, parameters in expected]


TOKEN = st.from_regex(r"[a-zA-Z][a-zA-Z0-9-]{0,8}", fullmatch=True)


@given(
    st.lists(
        st.tuples(TOKEN, st.dictionaries(TOKEN.map(str.lower), st.text('ab"\\, =', max_size=6), min_size=1, max_size=3)),
        max_size=3,
    )
)
def test_every_challenge_that_is_written_in_full_is_read_back(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} {', '.join(f'{name}={quoted(value)}' for name, value in listed.items())}" for scheme, listed in challenges
    )
    assert parse(header) == [Challenge(scheme.lower(), listed) for scheme, listed in challenges]


@given(st.text(max_size=200))
def test_no_header_is_too_odd_to_be_read(header: str) -> None:
    assert all(challenge.scheme == challenge.scheme.lower() for challenge in parse(header))
