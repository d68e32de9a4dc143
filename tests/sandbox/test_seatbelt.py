"""The profile for macOS, as text: no Mac has run it."""

from dataclasses import replace
from pathlib import Path

import pytest

from kernel_exec.sandbox.policy import Policy
from kernel_exec.sandbox.seatbelt import profile
from kernel_exec.sandbox.walls import Walls

HOME = Path("/Users/me")
POLICY = Policy(
    walls=Walls.WORKSPACE,
    writable=(HOME / "work",),
    own=(Path("/private/tmp/kx-1"),),
    temporary=Path("/private/tmp/kx-1/tmp"),
    needed=(HOME / "work/a/venv",),
    readable=(HOME / "data",),
    sockets=frozenset(),
    homes=(HOME,),
    working_directory=HOME / "work",
    runtime=Path("/private/tmp"),
    hidden=frozenset({HOME / ".ssh", HOME / "work/.kernel_exec", HOME / "work/a/venv/key"}),
    absent=frozenset({HOME / ".aws"}),
    ours=(HOME / "work/.kernel_exec",),
)
ISOLATED = replace(POLICY, walls=Walls.ISOLATED)


def counted(policy: Policy, what: str, path: str) -> str:
    """`allow` or `deny`: the last rule for `what` that names the path or a folder above it."""
    found = "deny"  # all that no rule names
    for rule in profile(policy).splitlines()[1:]:
        verdict, *operations = rule.strip("()").partition(" (")[0].split()
        wildcards = {each.rstrip("*") for each in operations if each.endswith("*")}
        if what not in operations and not any(map(what.startswith, wildcards)):
            continue
        trees = [part.split('"')[1] for part in rule.split("(subpath ")[1:]]
        literals = [part.split('"')[1] for part in rule.split("(literal ")[1:]]
        everything = "(subpath" not in rule and "(literal" not in rule
        if everything or path in literals or any(map(Path(path).is_relative_to, trees)):
            found = verdict
    return found


@pytest.mark.parametrize(
    ("policy", "what", "path", "verdict"),
    [
        (POLICY, "file-read-data", "/Users/me/notes", "allow"),
        (ISOLATED, "file-read-data", "/Users/me/notes", "deny"),
        (ISOLATED, "file-read-data", "/Users/me/data/x", "allow"),
        (ISOLATED, "file-read-data", "/usr/lib/x", "allow"),
        (POLICY, "file-read-data", "/Users/me/.ssh/id", "deny"),
        (POLICY, "file-read-data", "/Users/me/.aws/later", "deny"),
        (POLICY, "file-write-data", "/Users/me/notes", "deny"),
        (POLICY, "file-write-data", "/Users/me/work/x", "allow"),
        (POLICY, "file-write-data", "/Users/me/work/a/venv/x", "deny"),
        (POLICY, "file-write-unlink", "/Users/me/work/a", "deny"),
        (POLICY, "file-write-unlink", "/Users/me/work/b", "allow"),
        (ISOLATED, "file-read-data", "/Users/me/work/a/venv/x", "allow"),
        (POLICY, "file-read-data", "/Users/me/work/a/venv/key", "deny"),
        (POLICY, "file-read-data", "/Users/me/work/.kernel_exec/history.db", "deny"),
        (POLICY, "file-write-data", "/private/tmp/kx-1/tmp/x", "allow"),
        (POLICY, "file-read-data", "/private/tmp/kx-2/connection.json", "deny"),
        (POLICY, "network-outbound", "/private/tmp/kx-1/s-1", "allow"),
        (ISOLATED, "network-outbound", "/private/tmp/other", "deny"),
    ],
)
def test_the_last_rule_that_matches_holds_the_wall(
    policy: Policy, what: str, path: str, verdict: str
) -> None:
    assert counted(policy, what, path) == verdict


def test_only_workspace_has_a_network() -> None:
    assert "(remote ip)" in profile(POLICY)
    assert "ip)" not in profile(ISOLATED)


def test_no_path_ends_its_string() -> None:
    folder = Path('/Users/me/a" (allow default) \\')

    text = profile(replace(POLICY, writable=(folder,)))

    assert r'(subpath "/Users/me/a\" (allow default) \\")' in text
    assert text.startswith("(version 1)\n(deny default)\n")
