import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop.capture import PatternExtractor, Redactor, digest, git_state, plain, preview, read_junit, read_result
from learning_loop.capture.extractor import read_assumptions
from learning_loop.capture.preview import MOST_DEPTH
from learning_loop.capture.redaction import SECRET
from learning_loop.errors import UsageError
from learning_loop.records import Task

SECRETS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "gh" + "p_" + "a1B2" * 9,
    "xox" + "b-1234567890-abcdefghij",
    "sk-" + "proj" + "abcdefghij0123456789",
    "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "AIza" + "SyA" + "b" * 32,
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nabc\n-----END RSA PRIVATE KEY-----",
]
words = st.text("abcdefghijklmnopqrstuvwxyz ,.:\n", max_size=40)


@given(words, st.sampled_from(SECRETS), words)
def test_a_secret_never_passes_whatever_stands_round_it(before: str, secret: str, after: str) -> None:
    redact = Redactor()
    for text in (f"{before} {secret} {after}", {"note": [f"{before} {secret}"]}, (f'"{secret}"',)):
        assert secret not in json.dumps(redact(text)).replace("\\n", "\n")


@pytest.mark.parametrize(
    ("text", "hidden", "kept"),
    [
        ("postgres://admin:hunter2secret@db.example.org/x", "hunter2secret", "db.example.org"),
        ("password = correct-horse", "correct-horse", "password"),
        ('{"api_key": "abc123def"}', "abc123def", "api_key"),
        ("Authorization: Bearer abcdefghijkl", "abcdefghijkl", "Authorization"),
        ("tool --token abc123 --verbose", "abc123", "--verbose"),
        ("export SECRET_TOKEN=zzz999", "zzz999", "SECRET_TOKEN"),
        ("Authorization: Token abc123xyz", "abc123xyz", "Authorization"),
        ("Cookie: session=abc; other=def", "session=abc", "Cookie"),
        ("postgres://me:p@ss@host/db", "p@ss", "host"),
        ('"password": "a\\"bcdef"', "bcdef", "password"),
        ("token => abcdef", "abcdef", "token"),
        ("<password>abcdef</password>", "abcdef", "<password>"),
        ("curl -u me:abcdef https://x", "abcdef", "curl"),
        ("the password is swordfish", "swordfish", "password"),
        ("DB_PWD=abcdef1", "abcdef1", "DB_PWD"),
        ("SECRET_KEY='abc def'", "abc def", "SECRET_KEY"),
    ],
)
def test_a_secret_goes_and_what_it_was_called_stays(text: str, hidden: str, kept: str) -> None:
    found = Redactor()(text)
    assert hidden not in found
    assert kept in found


def test_secrets_are_known_by_key_by_pattern_and_by_being_in_the_environment() -> None:
    redact = Redactor(
        patterns=(r"ticket-\d+",),
        environ={"DB_PASSWORD": "open-sesame-1", "PWD": "/", "HOME_TOKEN": "short", "EDITOR": "long-enough"},
    )
    assert redact({"password": "x", "accessKey": 5, "depth": 2, "tokens": 12}) == {
        "password": "[redacted]",
        "accessKey": "[redacted]",
        "depth": 2,
        "tokens": 12,
    }
    assert redact("see ticket-77, use open-sesame-1 and long-enough") == "see [redacted], use [redacted] and long-enough"


@given(st.from_regex(SECRET))
def test_whatever_has_the_form_of_a_secret_is_looked_at(text: str) -> None:
    assert Redactor()(text) != text


ODD = {  # letters beyond ASCII that are one within it for an expression that ignores case
    sign: letter
    for letter in "abcdefghijklmnopqrstuvwxyz"
    for sign in re.findall(letter, "".join(map(chr, range(128, 0x3000))), re.IGNORECASE)
}


NAMES = ["authorization: ", "cookie: ", "my_credential=", "basic ", "?signature=", "token=", "AIza", "AKIA", "api_key=", "sk-"]


@pytest.mark.parametrize("odd", ODD)
def test_a_secret_is_one_whatever_letters_it_is_written_in(odd: str) -> None:
    for name in NAMES:
        written = re.sub(ODD[odd], odd, name, flags=re.IGNORECASE)
        text = f"see {written}{'A1b2' * 9} there"
        found = SECRET.search(text)
        assert (Redactor()(text) != text) == (found is not None)


@pytest.mark.parametrize("space", "\t \n\r\x0b\x85\u00a0\u2003\u3000")
def test_a_user_with_a_password_is_none_whatever_stands_before(space: str) -> None:
    assert "hunter2" not in Redactor()(f"curl{space}-u admin:hunter2 x")


@pytest.mark.parametrize(
    "text", ["tokens used: few", "the keyboard", "pass the salt", "https://example.org/a@b", "monkey: banana", ""]
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Redactor()(text) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dbpass", "abc"),
        ("PGPASSWORD", "abc"),
        ("authToken", "abc"),
        ("signing_key", "abc"),
        ("credentials", {"user": "a", "pass": "b"}),
        ("auth", ("user", "abc")),
        ("passwords", ["abc"]),
        ("pin", 1234),
    ],
)
def test_what_stands_under_a_secret_name_goes_whatever_it_is(name: str, value: Any) -> None:
    assert Redactor()({name: value}) == {name: "[redacted]"}


def test_counts_of_tokens_and_words_that_only_sound_secret_stay() -> None:
    kept = {"max_tokens": 500, "tokens": 3, "bypass": "yes", "author": "Ann", "keyboard": "x", "auth": True, "token": 7}
    assert Redactor()(kept) == kept
    assert Redactor()("max_tokens=500, every basic authentication works") == "max_tokens=500, every basic authentication works"


def test_the_word_after_a_secret_flag_goes() -> None:
    assert Redactor()(["x", "--api-key", "abc", "-v"]) == ["x", "--api-key", "[redacted]", "-v"]


@given(st.text() | st.sampled_from(SECRETS).map(lambda secret: f"token={secret} password: {secret}"))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    redact = Redactor()
    assert redact(redact(text)) == redact(text)


@dataclass
class Odd:
    number: float
    inner: Any

    def __repr__(self) -> str:
        raise RuntimeError("never called")


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("never called")

    __str__ = __repr__


def test_any_value_has_a_plain_form_and_foreign_code_is_not_run() -> None:
    circular: list[Any] = []
    circular.append(circular)
    found = plain(
        {"a": Odd(math.nan, Hostile()), 3: {1, 2}, "b": b"xyz", "path": Path("x"), "deep": circular, "many": list(range(1000))}
    )
    text = json.dumps(found)
    assert found["a"] == {"number": "nan", "inner": f"<{__name__}.Hostile>"}
    assert found["b"] == "<3 bytes>"
    assert found["many"][-1] == "… 900 more"
    assert len(text) < 3_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(json_values)
def test_equal_values_have_equal_digests_and_plain_data_stays_what_it_is(value: Any) -> None:
    if depth_of(value) <= MOST_DEPTH:
        assert plain(value) == value
    assert digest(value) == digest(json.loads(json.dumps(value)))


def test_digests_tell_long_texts_apart_and_previews_are_bounded() -> None:
    long = "x" * 3_000_000
    assert digest(long) != digest(long[:-1] + "y")
    assert digest(long) != digest(long + "x")
    assert len(preview(long, 100) or "") < 150
    assert preview(None, 5) is None
    assert digest(None) is None


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"success": False}, {"success": False}),
        ({"score": 90, "tests_passed": 3, "tests_total": 4}, {"score": 90, "tests_passed": 3, "tests_total": 4}),
        ({"returncode": 2}, {"exit_code": 2}),
        ("text", {}),
        (None, {}),
        ([1], {}),
    ],
)
def test_a_result_says_what_it_knows(result: Any, expected: dict[str, Any]) -> None:
    read = read_result(result)
    assert {
        name: getattr(read, name)
        for name in ("success", "score", "tests_passed", "tests_total", "exit_code")
        if getattr(read, name) is not None
    } == expected
    assert read.faults == ()


def test_a_process_is_read_by_attribute_and_a_wrong_claim_is_a_fault() -> None:
    import subprocess
    import sys

    assert read_result(subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=False)).exit_code == 3
    assert "0 to 100" in read_result({"score": 900}).faults[0]
    assert read_result({"success": "yes"}).success is None


def test_junit_counts_what_ran(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_text(
        '<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure message="assert 1 == 2">x</failure></testcase>'
        '<testcase name="c"><skipped/></testcase><testcase name="d"><error>boom\nmore</error></testcase>'
        "</testsuite></testsuites>"
    )
    assert read_junit(path) == (1, 3, "assert 1 == 2")
    path.write_text("<unclosed>")
    with pytest.raises(UsageError, match="no XML"):
        read_junit(path)
    path.write_text('<!DOCTYPE x [<!ENTITY a "b">]><x/>')
    with pytest.raises(UsageError, match="entities"):
        read_junit(path)


def test_metadata_is_captured_for_each_phase(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    (memory / "working-memory").mkdir(parents=True)
    (memory / "working-memory" / "current-assumptions.md").write_text(
        "# Current\n\n- the API answers\n- [x] disks are fast\n\n## No longer holds\n\n- gone\n"
    )
    extractor = PatternExtractor(memory, environ={"CI": "1", "HOME": "x"}, environment=("CI",))
    task = Task(
        id="t",
        dependencies=("python:pytest>=8", "python:no-such-package", "command:python3", "file:memory", "file:nope.csv"),
        assumptions=("it is Monday",),
    )
    found = extractor.capture_execution_metadata(task, "pre")
    assert found["task_id"] == "t"
    assert found["phase"] == "pre"
    data = found["data"]
    assert data["initial_state"]["environment"] == {"CI": "1"}
    assert data["assumptions"] == {"declared": ["it is Monday"], "current": ["the API answers", "disks are fast"]}
    satisfied = {name: check["satisfied"] for name, check in data["dependencies"].items()}
    assert list(satisfied.values()) == [True, False, True, True, False]
    assert data["dependencies"]["python:pytest>=8"]["version"]
    assert extractor.capture_execution_metadata("t", "during")["data"]["decision_points"] == []
    assert set(extractor.capture_execution_metadata("t", "post")["data"]) == {"outcomes", "deviations", "discoveries"}
    with pytest.raises(UsageError, match="no phase"):
        extractor.capture_execution_metadata("t", "after")


def test_a_version_that_does_not_fit_is_named(tmp_path: Path) -> None:
    check = PatternExtractor(tmp_path / "memory").check_dependencies(
        Task(id="t", dependencies=("python:pytest>=9999", "not a requirement!!"))
    )
    assert "is needed" in check["python:pytest>=9999"]["reason"]
    assert "write it as" in check["not a requirement!!"]["reason"]


def test_assumptions_that_no_longer_hold_are_not_read() -> None:
    assert read_assumptions("- a\n* b\n\n## No longer holds\n- c\n") == ("a", "b")


def test_git_is_asked_and_its_absence_is_no_fault(tmp_path: Path) -> None:
    import subprocess

    assert git_state(tmp_path) is None
    for command in (
        ["init", "-q"],
        ["-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    clean = git_state(tmp_path)
    (tmp_path / "new.txt").write_text("x")
    dirty = git_state(tmp_path)
    assert clean
    assert dirty
    assert (clean.commit, clean.changed_files, dirty.changed_files) == (dirty.commit, 0, 1)
    assert len(clean.commit) == 40
