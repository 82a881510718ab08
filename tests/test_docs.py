"""What the documentation says is executed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from learning_loop.cli.group import COMMANDS
from learning_loop.settings import Settings
from learning_loop.workspace.config import _leaves

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[Path, str]]:
    found = []
    for page in PAGES:
        codes = [code for name, code in BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]
        if codes:
            found.append((page, "\n".join(codes)))
    return found


@pytest.mark.parametrize(("page", "code"), blocks("python"), ids=lambda value: value.name if isinstance(value, Path) else "")
def test_python_blocks_run(page: Path, code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if page.name == "README.md":
        assert "the Python package httpx is not installed" in done.stdout


@pytest.mark.parametrize(("page", "code"), blocks("bash"), ids=lambda value: value.name if isinstance(value, Path) else "")
def test_shell_blocks_run(page: Path, code: str, tmp_path: Path) -> None:
    lines = "\n".join(line for line in code.splitlines() if not line.startswith("scripts/"))
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-euc", lines], cwd=tmp_path, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    for script in re.findall(r"^scripts/\S+", code, re.MULTILINE):
        assert os.access(ROOT / script, os.X_OK), script


def test_every_command_and_every_setting_is_documented() -> None:
    cli = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if f"`{name}" not in cli]
    workspace = (ROOT / "docs" / "workspace.md").read_text(encoding="utf-8")
    missing = []
    for key, _ in _leaves(Settings().model_dump()):
        parts = key.split(".")
        if parts[:2] == ["scoring", "presets"]:
            continue
        if f"`{key}`" not in workspace and f"`{parts[-1]}`" not in workspace:
            missing.append(key)
    assert not missing


def test_every_link_leads_somewhere() -> None:
    for page in [*PAGES, ROOT / "learning_loop" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_agents_page_is_short() -> None:
    assert len((ROOT / "AGENTS.md").read_text(encoding="utf-8").splitlines()) <= 80
