"""The layers of the package, as a test: every import points downwards, and importing has no effect."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "learning_loop"

LAYERS = [  # a file imports from lower rows only; two areas in one row never import each other
    {"errors", "forking"},
    {"records", "stats"},
    {"settings", "protocols", "features"},
    {
        "scoring",
        "reflection",
        "retrieval",
        "patterns",
        "rules",
        "synthesis",
        "rewards",
        "policies",
        "experiments",
        "strategies",
    },
    {"ledger", "workspace", "index", "providers", "capture", "importers"},
    {"decider", "execution", "alerts"},
    {"app"},
    {"flows"},
    {"orchestrator"},
    {"jobs"},
    {"dashboard"},
    {"api"},
    {"cli", "mcp", "integrations"},
]
FREE = {"__init__", "__main__", "examples", "defaults"}  # the face may name anything; examples and data are outside the house
LEVEL = {area: level for level, areas in enumerate(LAYERS) for area in areas}


def areas_imported_by(path: Path) -> set[str]:
    """Return the areas of ours that a file imports anywhere in it, inside functions too."""
    found: set[str] = set()
    package = ["learning_loop", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *node.module.split(".")] if node.module else base
            names = [".".join(base)] if len(base) > 1 else [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("learning_loop.")}
    return found & set(LEVEL)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_downwards(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if here in FREE:
        return
    wrong = {other for other in areas_imported_by(path) - {here} if LEVEL[other] >= LEVEL[here]}
    assert not wrong, f"{here} (layer {LEVEL[here]}) may not import {sorted(wrong)}"


def test_every_area_has_a_layer() -> None:
    areas = {child.stem for child in PACKAGE.iterdir() if child.suffix == ".py" or (child / "__init__.py").exists()}
    assert areas - FREE <= set(LEVEL)


STAGES = LAYERS[3]


@pytest.mark.parametrize("area", sorted(STAGES))
def test_stages_touch_no_file_clock_environment_or_randomness(area: str) -> None:
    folder = PACKAGE / area
    forbidden = {"os", "pathlib", "random", "secrets", "time", "sqlite3", "subprocess", "socket", "shutil", "tempfile"}
    for path in folder.rglob("*.py") if folder.exists() else ():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden & {name.split(".")[0] for name in names}, path
            assert not (isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today")), path


def modules_after(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{statement}\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = {
        "sqlalchemy",
        "pydantic",
        "yaml",
        "jinja2",
        "numpy",
        "torch",
        "faiss",
        "alembic",
        "click",
        "asyncio",
        "sentence_transformers",
    }
    assert not heavy & modules_after("import learning_loop")
    assert list(tmp_path.iterdir()) == []


def test_a_command_loads_no_model_library() -> None:
    loaded = modules_after(
        "import learning_loop.cli.workspace, learning_loop.flows.status, learning_loop.orchestrator, learning_loop.flows.alerts"
    )
    assert not {"torch", "faiss", "sentence_transformers", "alembic", "jinja2", "numpy", "rich", "psutil"} & loaded


def test_no_broad_except_outside_the_guard_and_the_entry_points() -> None:
    # `app` has a thread's entry; `wrap` hands on what is thrown to the generator it is thrown at
    allowed = {"flows/guard.py", "cli/group.py", "app.py", "flows/wrap.py"}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and name not in allowed:
                caught = ast.unparse(node.type) if node.type else "everything"
                reraised = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
                assert caught not in ("everything", "Exception", "BaseException") or reraised, f"{name}:{node.lineno}"
