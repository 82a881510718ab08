"""What to do differently next time: one suggestion for each cause that has one."""

from collections.abc import Sequence

from learning_loop.records import Finding

_ADVICE = {
    "missing dependency": "make {x} available before the next run, and declare it as a dependency so that it is checked first",
    "wrong version": "pin the version of {x} that the code expects",
    "wrong option": "drop or correct the option {x}",
    "missing file": "make sure that {x} is there, and declare it as file:{x} so that it is checked first",
    "missing command": "install {x}, and declare it as command:{x} so that it is checked first",
    "permission": "give the run access to {x}",
    "unreachable": "check that the service is up before the run starts",
    "full disk": "free disk space",
    "out of memory": "lower the load of one run, or give it more memory",
    "rate limit": "call less often, or retry with a growing pause",
    "context exceeded": "shorten or split the input",
    "timeout": "allow more time, or do less in one run",
    "syntax": "mend {x}, which does not parse",
}


def improvements(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return suggestions for the causes that were found, the likeliest first; none where none is known."""
    found = []
    for finding in findings:
        about = finding.subject.partition(":")[2] or finding.subject
        if finding.kind in _ADVICE:
            found.append(_ADVICE[finding.kind].format(x=about))
        elif finding.kind in ("changed", "common to failures", "mended before") and finding.subject.startswith(
            ("parameter:", "decision:")
        ):
            found.append(f"go back to the {finding.subject.replace(':', ' ', 1)} that worked: {finding.text}")
    return tuple(dict.fromkeys(found))[:3]
