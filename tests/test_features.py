import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop.features import contrasts, differences, error_line, explain, family, fingerprint, shape_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("No such file: '/tmp/a1/x.csv'", "No such file: '/var/b2/y.csv'"),
        ("timeout after 31.5s on 10.0.0.7:5432", "timeout after 7s on 192.168.1.9:80"),
        ("object <Foo at 0x7f3a2c> failed", "object <Foo at 0x9b1> failed"),
        (
            "job 6f1c2b1e-8a1f-4c57-9d0e-1f2a3b4c5d6e lost at 2026-03-01T10:00:00Z",
            "job 00000000-8a1f-4c57-9d0e-1f2a3b4c5d6e lost at 2025-01-01T09:30:11Z",
        ),
        ("GET https://api.example.org/v1/42 gave 503", "GET https://api.example.org/v2/7?x=1 gave 502"),
        ("commit deadbeef1 is bad", "commit 0123abc is bad"),
    ],
)
def test_volatile_parts_do_not_make_another_error(one: str, other: str) -> None:
    assert family(one) == family(other)
    assert fingerprint("E", one) == fingerprint("E", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("No module named 'numpy'", "No module named 'pandas'"),
        ("unrecognized arguments: --fast", "unrecognized arguments: --slow"),
        ("KeyError: 'a'", "KeyError: 'b'"),
    ],
)
def test_what_tells_causes_apart_stays(one: str, other: str) -> None:
    assert fingerprint("E", one) != fingerprint("E", other)


def test_nothing_known_has_no_fingerprint() -> None:
    assert fingerprint(None, None) is None
    assert fingerprint(None, "") is None


@given(st.text(st.characters(codec="utf-8", exclude_characters="/ABCDEFGHIJKLMNOPQRSTUVWXYZ")))
def test_a_family_has_no_numbers_but_codes_and_relative_paths(text: str) -> None:
    left = re.sub(r"(?i)(?:error|errno|status|code|http|exit)\W{1,3}\d{1,3}", "", family(text))
    assert not any(character.isdecimal() for character in left)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Error: EACCES '/home/ann/x'", 'Error: EACCES "/srv/b/y"', True),
        ("java.io.IOException: broken pipe", "broken pipe", True),
        ("no workspace for job/a #12", "no workspace for job-b #9", True),
        ("not ok 12 parallel/test-fs", "not ok 99 parallel/test-fs", True),
        ("Step \u2018Archive\u2019 failed", "Step ?Archive? failed", True),
        ("not ok 12 parallel/test-fs", "not ok 12 parallel/test-net", False),
        ("Cannot find module './foo'", "Cannot find module './bar'", False),
        ("error C1060: heap", "error C2065: heap", False),
        ("returned error: 502", "returned error: 500", False),
        ("mail to ann@a.org failed", "mail to bob@b.com failed", True),
    ],
)
def test_families_are_what_a_reader_would_merge(one: str, other: str, same: bool) -> None:
    assert (family(one) == family(other)) is same


TRACEBACK = """Traceback (most recent call last):
  File "x.py", line 1, in <module>
    import nosuch
ModuleNotFoundError: No module named 'nosuch'
"""
PYTEST = """
    def test_x():
>       assert f() == 2
E       AssertionError: assert 1 == 2
tests/test_x.py:4: AssertionError
FAILED tests/test_x.py::test_x - AssertionError: assert 1 == 2
1 failed in 0.02s
"""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (TRACEBACK, ("ModuleNotFoundError", "No module named 'nosuch'")),
        (PYTEST, ("AssertionError", "assert 1 == 2")),
        ("usage: x\nx: error: unrecognized arguments: --fast\n", (None, "x: error: unrecognized arguments: --fast")),
        ("\x1b[31mERROR: boom\x1b[0m\nbye\n", (None, "ERROR: boom")),
        ("just this\n", (None, "just this")),
        ("", (None, None)),
    ],
)
def test_the_line_that_tells_most_is_found(output: str, expected: tuple[str | None, str | None]) -> None:
    assert error_line(output) == expected


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("ModuleNotFoundError: No module named 'httpx'", "python:httpx"),
        ("ImportError: cannot import name 'Client' from 'mcp.server'", "python:mcp.server"),
        ("error: unrecognized arguments: --fast", "option:--fast"),
        ("Error: No such option: --speed", "option:--speed"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'data.csv'", "file:data.csv"),
        ("cat: notes.txt: No such file or directory", "file:notes.txt"),
        ("bash: frob: command not found", "command:frob"),
        ("zsh: command not found: frob", "command:frob"),
        ("PermissionError: [Errno 13] Permission denied: '/etc/x'", "permission:/etc/x"),
        ("ConnectionRefusedError: [Errno 111] Connection refused", "network:refused"),
        ("OSError: [Errno 28] No space left on device", "disk"),
        ("TimeoutError: timed out", "timeout"),
        ('  File "a/b.py", line 7\n    def (:\n        ^\nSyntaxError: invalid syntax', "file:a/b.py"),
    ],
)
def test_well_known_errors_are_explained(text: str, subject: str) -> None:
    found = explain(text)
    assert found
    assert found.subject == subject


def test_an_error_nobody_knows_is_not_explained() -> None:
    assert explain("ValueError: the moon is full") is None


def test_differences_name_both_values() -> None:
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == [("b", "3", "2"), ("c", "4", None)]


def test_contrasts_find_the_feature_that_sets_failures_apart_and_no_other() -> None:
    failed = [{"load": "2", "host": f"h{n % 3}"} for n in range(6)]
    worked = [{"load": "1", "host": f"h{n % 3}"} for n in range(12)]
    found = contrasts(failed, worked)
    assert [(contrast.feature, contrast.value) for contrast in found] == [("load", "2")]
    assert (found[0].with_count, found[0].with_total, found[0].without_count, found[0].without_total) == (6, 6, 0, 12)
    assert found[0].p_value < 0.001
    assert contrasts(failed[:1], worked[:2]) == []


def test_noise_is_seldom_taken_for_a_contrast() -> None:
    import random

    rng = random.Random(5)
    hits = 0
    for _ in range(300):
        runs = [{f"f{n}": rng.choice("ab") for n in range(10)} for _ in range(30)]
        hits += bool(contrasts(runs[:10], runs[10:]))
    assert hits <= 25  # 5 % of 300, and three standard deviations


def test_a_shape_names_what_a_run_is_made_of() -> None:
    assert shape_of({"depth": 2, "x": {"y": "z"}}, ["python:numpy"], ["build", "build"], ["agent"]) == (
        "decision:agent",
        "dependency:python:numpy",
        "parameter:depth",
        "parameter:depth=2",
        "parameter:x.y",
        "parameter:x.y=z",
        "step:build",
    )
