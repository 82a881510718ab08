from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_loop.errors import NoteError
from learning_loop.workspace import Note, NoteStore, Workspace, atomic_write, with_front_matter
from learning_loop.workspace.notes import MOST_BYTES

BY_HAND = b"""---
# what this is about
id: abc   # never change it
title: "A note: by hand"
version: 1.10
answer: no

nested:
  deep: [1, 2]   # kept
tags:
- one
- two
# the end
---
# Heading

Body with trailing spaces   \r\nand mixed line ends
"""

keys = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.text(max_size=40)
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)


@given(st.binary(max_size=400))
def test_any_bytes_parse_to_themselves_or_to_a_clear_error(content: bytes) -> None:
    try:
        note = Note.parse("memory/x.md", content)
    except NoteError as error:
        assert str(error).startswith("memory/x.md:")
    else:
        assert note.content == content


@given(st.dictionaries(keys, values, max_size=6), st.text())
def test_what_is_written_reads_back_equal(meta: dict[str, Any], body: str) -> None:
    note = with_front_matter("memory/x.md", meta, body)
    read = Note.parse("memory/x.md", note.content)
    assert read.body == body
    assert read.meta == {key: value for key, value in meta.items() if value is not None}
    assert read.content == note.content


@given(st.dictionaries(keys, values, min_size=1, max_size=6), keys, scalars, st.text())
def test_setting_one_key_leaves_every_other_as_it_was(meta: dict[str, Any], name: str, value: Any, body: str) -> None:
    note = with_front_matter("memory/x.md", meta, body)
    changed = Note.parse("memory/x.md", note.with_meta(**{name: value}).content)
    expected = {key: item for key, item in {**meta, name: value}.items() if item is not None}
    assert changed.meta == expected
    assert changed.body == body


@pytest.mark.parametrize(
    "front", ["{}", "{a: 1, b: [x]}", "", "# only a comment", '"quoted key": 1', "a:\n  b: 1\n# end", "a: |\n  b: 1\n  seen: 2"]
)
def test_front_matter_in_any_form_takes_a_key(front: str) -> None:
    note = Note.parse("memory/x.md", f"---\n{front}\n---\nbody".encode())
    changed = Note.parse("memory/x.md", note.with_meta(seen=3).content)
    assert changed.meta == {**note.meta, "seen": 3}
    assert changed.body == "body"


def test_a_note_by_hand_keeps_comments_order_and_unknown_keys() -> None:
    note = Note.parse("memory/x.md", BY_HAND)
    changed = note.with_meta(tags=["three"], seen=4)
    text = changed.content.decode()
    assert changed.content != BY_HAND
    for kept in (
        "# what this is about",
        "# never change it",
        "version: 1.10",
        "answer: no",
        "deep: [1, 2]   # kept",
        "# the end",
    ):
        assert kept in text
    assert text.endswith("Body with trailing spaces   \r\nand mixed line ends\n")
    assert Note.parse("memory/x.md", changed.content).meta["tags"] == ["three"]
    assert Note.parse("memory/x.md", changed.content).meta["seen"] == 4
    assert note.with_meta(tags=["one", "two"]).with_meta(seen=None).meta == note.meta


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"---\ntitle: [unclosed\n---\n", "memory/x.md:"),
        (b"---\ntitle: x\nno end\n", "no closing ---"),
        (b"---\n- a list\n---\n", "not a list"),
        (b"---\na: &a [x]\nb: *a\n---\n", "aliases"),
        (b"---\ncreated: 2026-13-45\n---\n", "front matter cannot be read"),
        ("# caf\xe9".encode("latin-1"), "not UTF-8"),
        (b"x" * (MOST_BYTES + 1), "larger than"),
    ],
)
def test_a_note_that_cannot_be_read_says_where_and_why(content: bytes, word: str) -> None:
    with pytest.raises(NoteError, match=word):
        Note.parse("memory/x.md", content)


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    with pytest.raises(NoteError, match="aliases"):
        Note.parse("memory/x.md", f"---\n{chr(10).join(lines)}\n---\n".encode())


def test_categories_and_dates_are_read_leniently() -> None:
    assert Note.parse("memory/rules/a.md", b"text").category == "rule"
    assert Note.parse("templates/successful-patterns/x/SKILL.md", b"text").category == "template"
    assert Note.parse("memory/a.md", b"---\ncreated: 2026-01-02\ntags: solo\n---\n# Title here\n").created == datetime(
        2026, 1, 2, tzinfo=UTC
    )
    assert Note.parse("memory/a.md", b"# Title here #\n").title == "Title here"
    assert Note.parse("memory/some-name.md", b"").title == "some name"


def test_the_store_lists_what_is_readable_and_names_what_is_not(workspace: Workspace, tmp_path: Path) -> None:
    store = NoteStore(workspace)
    (workspace.memory / "good.md").write_text("# Good\n")
    (workspace.memory / "bad.md").write_bytes(b"\xff\xfe")
    outside = tmp_path / "outside.md"
    outside.write_text("# Secret\n")
    (workspace.memory / "link.md").symlink_to(outside)
    found = {(item.path if isinstance(item, Note) else str(item)) for item in store.all()}
    assert "memory/good.md" in found
    assert any("bad.md:1: is not UTF-8" in item for item in found)
    assert any("leads out of the workspace" in item for item in found)
    assert not any("README" in item for item in found)


def test_atomic_write_replaces_whole_files_and_leaves_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.md"
    atomic_write(path, b"one")
    path.chmod(0o640)
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [child.name for child in path.parent.iterdir()] == ["file.md"]
