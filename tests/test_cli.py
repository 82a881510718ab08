import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from learning_loop.cli.group import COMMANDS, cli
from learning_loop.workspace import Workspace


def command(*arguments: str, folder: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, "COLUMNS": "200", **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "learning_loop", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environ,
        **options,
    )


def told(*arguments: str, folder: Path) -> Any:
    done = command(*arguments, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    return workspace.root


def test_a_command_passes_through_and_is_recorded(folder: Path) -> None:
    code = "import sys; print('to out'); print('to err', file=sys.stderr); print(sys.stdin.read())"
    done = command(
        "run", "--type", "test", "--component", "api", "-q", "--", sys.executable, "-c", code, folder=folder, input="typed"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "to out\ntyped\n", "to err\n")
    listed = told("executions", "list", folder=folder)
    assert [(item["type"], item["component"], item["status"], item["success"]) for item in listed] == [
        ("test", "api", "succeeded", True)
    ]
    shown = told("executions", "show", listed[0]["id"][-8:], folder=folder)
    assert shown["outcome"]["exit_code"] == 0
    assert "typed" in shown["outcome"]["output_tail"]
    assert shown["outcome"]["duration_s"] > 0
    assert shown["outcome"]["peak_memory_bytes"] > 1_000_000
    assert shown["execution"]["parameters"]["command"][0] == sys.executable


def test_exit_codes_and_signals_stay_the_commands_own(folder: Path) -> None:
    assert command("run", "-q", "--", sys.executable, "-c", "raise SystemExit(7)", folder=folder).returncode == 7
    killed = command("run", "-q", "--", sys.executable, "-c", "import os; os.kill(os.getpid(), 15)", folder=folder)
    assert killed.returncode == -15
    missing = command("run", "--", "no-such-command-here", folder=folder)
    assert missing.returncode == 127
    assert "no-such-command-here: command not found" in missing.stderr
    unexecutable = folder / "plain.txt"
    unexecutable.write_text("x")
    assert command("run", "-q", "--", str(unexecutable), folder=folder).returncode == 126
    assert "killed by SIGTERM" in told("reflect", told("executions", "list", folder=folder)[2]["id"], folder=folder)["error"]


def test_a_signal_to_us_reaches_the_command_and_the_run_is_recorded(folder: Path) -> None:
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(9)); print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-m", "learning_loop", "run", "-q", "--", sys.executable, "-c", code],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 9
    assert told("executions", "list", folder=folder)[0]["status"] == "failed"


def test_output_is_live(folder: Path) -> None:
    code = "import time; print('first', flush=True); time.sleep(3); print('second')"
    with subprocess.Popen(
        [sys.executable, "-m", "learning_loop", "run", "-q", "--", sys.executable, "-c", code],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "first\n"
        at = time.monotonic()
        assert process.stdout.read() == "second\n"
        assert time.monotonic() - at > 1


def test_on_a_terminal_the_command_has_a_terminal_too(folder: Path) -> None:
    ours, theirs = pty.openpty()
    code = "import sys; print('tty', sys.stdout.isatty(), sys.stderr.isatty())"
    with subprocess.Popen(
        [sys.executable, "-m", "learning_loop", "run", "-q", "--", sys.executable, "-c", code],
        cwd=folder,
        stdout=theirs,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(theirs)
        said = b""
        while b"\n" not in said:
            said += os.read(ours, 1000)
        process.communicate()
    os.close(ours)
    assert said.split() == [b"tty", b"True", b"False"]


def test_fifty_megabytes_pass_and_a_tail_is_kept(folder: Path) -> None:
    code = "import sys; [sys.stdout.write('x' * 1_000_000 + '\\n') for _ in range(50)]; print('the end')"
    done = command("run", "-q", "--", sys.executable, "-c", code, folder=folder)
    assert len(done.stdout) == 50 * 1_000_001 + 8
    shown = told("executions", "show", told("executions", "list", folder=folder)[0]["id"], folder=folder)
    assert shown["outcome"]["output_tail"].endswith("the end\n")
    assert len(shown["outcome"]["output_tail"]) <= 16_384


def test_the_command_finds_its_briefing_and_its_parameters(folder: Path) -> None:
    broken = "raise ModuleNotFoundError(\"No module named 'httpx'\")"
    command("run", "--type", "test", "--component", "api", "-q", "--", sys.executable, "-c", broken, folder=folder)
    code = (
        "import json, os, pathlib; print(pathlib.Path(os.environ['LEARNING_LOOP_BRIEFING']).read_text());"
        "p = pathlib.Path(os.environ['LEARNING_LOOP_PARAMETERS']); print(json.loads(p.read_text())['depth'] + 1, p.name)"
    )
    done = command(
        "run", "--type", "test", "--component", "api", "-q", "-p", "depth=41", "--", sys.executable, "-c", code, folder=folder
    )
    assert "httpx is not installed" in done.stdout
    assert "42 parameters.json" in done.stdout


def test_junit_gives_tests_passed_of_total(folder: Path) -> None:
    xml = '<testsuite><testcase name="a"/><testcase name="b"><failure message="assert 1 == 2"/></testcase></testsuite>'
    code = f"import pathlib; pathlib.Path('junit.xml').write_text({xml!r}); raise SystemExit(1)"
    done = command(
        "run",
        "--type",
        "test",
        "--junit",
        "junit.xml",
        "--report",
        "report.json",
        "--",
        sys.executable,
        "-c",
        code,
        folder=folder,
    )
    assert done.returncode == 1
    report = json.loads((folder / "report.json").read_text())
    assert (report["outcome"]["tests_passed"], report["outcome"]["tests_total"]) == (1, 2)
    assert report["scores"]["accuracy"] == 50
    assert report["outcome"]["error_message"] == "assert 1 == 2"
    stale = command("run", "--junit", "junit.xml", "--", sys.executable, "-c", "pass", folder=folder)
    assert stale.returncode == 0
    assert "from an earlier run" in stale.stderr


def test_the_run_survives_a_workspace_that_cannot_be_used(folder: Path) -> None:
    (folder / "config" / "learning_loop.yaml").write_text("recal: 1\n")
    done = command("run", "--", sys.executable, "-c", "print('done'); raise SystemExit(4)", folder=folder)
    assert (done.returncode, done.stdout) == (4, "done\n")
    assert "did you mean 'recall'" in done.stderr


def test_query_feedback_reflect_status(folder: Path) -> None:
    assert command("query", "anything", folder=folder).returncode == 1
    command(
        "run", "--type", "build", "--component", "wheel", "-q", "--", sys.executable, "-c", "import nosuchmodule", folder=folder
    )
    command("run", "--type", "build", "--component", "wheel", "-q", "--", sys.executable, "-c", "pass", folder=folder)
    found = told("query", "what", "failed", "last", "time?", folder=folder)
    assert set(found["results"][0]) >= {"id", "memory", "score", "source"}
    assert "nosuchmodule" in found["results"][0]["memory"]
    execution = found["results"][0]["id"]
    assert "nosuchmodule is not installed" in told("reflect", execution, folder=folder)["summary"]
    assert told("feedback", execution, "satisfaction", "2", folder=folder)["score"] is None
    assert told("feedback", execution, "score", "80", folder=folder)["score"] == 80
    status = told("status", folder=folder)
    assert status["executions"] == {"failed": 1, "succeeded": 1, "running": 0}
    assert status["notes"] == {"assumption": 1, "reflection": 1}
    assert status["mean_score"]["of_newest"] == 2
    text = command("status", folder=folder).stdout
    assert "2: 1 failed, 1 succeeded" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("statu",), 2, "did you mean 'status'"),
        (("executions", "show", "nonesuch"), 6, "executions list"),
        (("--set", "recall.note=3", "status"), 4, "recall.notes"),
        (("--set", "nothing", "status"), 2, "KEY=VALUE"),
        (("run", "-p", "novalue", "--", "true"), 2, "name=value"),
        (("forget", "--yes"), 2, "name an execution"),
        (("restore", "README.md"), 2, "does not exist"),
        (("-C", "memory", "status"), 3, "learning-loop init"),
        (("feedback", "xyz", "score", "1"), 6, "no execution"),
    ],
)
def test_errors_are_one_clear_line_with_an_exit_code(folder: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = command(*arguments, folder=folder)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.lower().startswith("error")]) == 1


def test_debug_shows_the_traceback(folder: Path) -> None:
    done = command("--debug", "executions", "show", "nonesuch", folder=folder)
    assert "Traceback" in done.stderr


def test_outside_a_workspace_the_way_in_is_named(tmp_path: Path) -> None:
    done = command("status", folder=tmp_path)
    assert done.returncode == 3
    assert "learning-loop init" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_and_config(tmp_path: Path) -> None:
    assert "config/scoring.yaml" in told("init", folder=tmp_path)["written"]
    assert told("init", folder=tmp_path)["written"] == []
    shown = told("config", "show", folder=tmp_path)
    assert shown["recall.notes"] == {"value": 5, "origin": "config/learning_loop.yaml:10"}
    lines = command("config", "show", "--origin", folder=tmp_path).stdout.splitlines()
    assert lines[0].split("\t") == ["setting", "value", "origin"]


def test_the_doctor_finds_what_is_wrong_and_how_to_mend_it(folder: Path) -> None:
    assert command("doctor", folder=folder).returncode == 0
    (folder / "memory" / "bad.md").write_bytes(b"\xff")
    (folder / "templates" / "briefing.md.j2").write_text("{% if %}")
    (folder / "config" / "scoring.yaml").write_text("scoring:\n  windw: 3\n")
    (folder / "memory" / "rules").rmdir()
    found = command("doctor", "--json", folder=folder)
    assert found.returncode == 1
    said = {(item["level"], item["what"]) for item in json.loads(found.stdout)}
    text = " ".join(what for _, what in said)
    for words in ("windw", "briefing.md.j2", "memory/rules/ is missing", "scoring.yaml is customised"):
        assert words in text
    assert all(item["mend"] for item in json.loads(found.stdout) if item["level"] == "warning")
    (folder / "config" / "scoring.yaml").unlink()
    assert "bad.md:1: is not UTF-8" in command("doctor", folder=folder).stdout


def test_the_doctor_says_what_a_shortened_configuration_leaves_to_its_defaults(folder: Path) -> None:
    (folder / "config" / "learning_loop.yaml").write_text("recall:\n  notes: 3\n")
    done = command("doctor", folder=folder)
    assert done.returncode == 0
    assert "does not mention mode, recall.enabled, recall.executions" in done.stdout


def test_the_report_of_a_run_can_be_had_as_json(folder: Path) -> None:
    done = command("run", "--json", "--", sys.executable, "-c", "print('out')", folder=folder)
    assert done.stdout == "out\n"
    assert json.loads(done.stderr)["outcome"]["status"] == "succeeded"


def test_a_reader_that_leaves_early_ends_the_command(folder: Path) -> None:
    line = f"{sys.executable} -m learning_loop run -q -- yes | head -1"
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout == "y\n"


def test_a_slow_reader_loses_nothing(folder: Path) -> None:
    line = f"{sys.executable} -m learning_loop run -q -- seq 20000 | (sleep 3; wc -l)"
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "20000"


def test_closed_outputs_and_unwritable_reports_do_not_stop_the_command(folder: Path) -> None:
    line = f"{sys.executable} -m learning_loop run -q --report /nonexistent/x -- touch made >&-"
    subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=True, timeout=30)
    assert (folder / "made").exists()


def test_backup_forget_restore(folder: Path, tmp_path: Path) -> None:
    command("run", "-q", "--", sys.executable, "-c", "import nosuchmodule", folder=folder)
    execution = told("executions", "list", folder=folder)[0]["id"]
    archive = tmp_path / "b.tar.gz"
    assert told("backup", str(archive), folder=folder)["file"] == str(archive)
    assert command("forget", execution, folder=folder, input="n\n").returncode == 130
    erased = told("forget", execution, "--yes", folder=folder)
    assert erased[0]["erased"][0] == f"execution:{execution}"
    assert told("executions", "list", folder=folder)[0]["task_id"] == "(forgotten)"
    assert command("restore", str(archive), folder=folder).returncode == 2
    assert told("restore", str(archive), "--replace", folder=folder)["kept_aside"]
    assert told("executions", "list", folder=folder)[0]["id"] == execution


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(tmp_path: Path, shell: str) -> None:
    assert "_LEARNING_LOOP_COMPLETE" in command("completion", shell, folder=tmp_path).stdout


def test_completion_completes(tmp_path: Path) -> None:
    done = command(
        folder=tmp_path, env={"_LEARNING_LOOP_COMPLETE": "bash_complete", "COMP_WORDS": "learning-loop exe", "COMP_CWORD": "1"}
    )
    assert "executions" in done.stdout


def test_every_command_has_help_that_says_what_it_does() -> None:
    import click

    context = click.Context(cli)
    for name, (_, _, summary) in COMMANDS.items():
        found = cli.get_command(context, name)
        assert found
        assert found.help
        assert summary.endswith(".")
        assert not found.params or all(
            not isinstance(item, click.Option) or item.help or item.name in ("tag", "status", "limit") for item in found.params
        )


def test_nobody_reading_is_no_error(folder: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m learning_loop config show | head -1",
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("setting")
    assert done.stderr == ""
