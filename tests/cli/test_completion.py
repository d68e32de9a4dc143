"""What shells complete, in each shell that is here."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHELLS = {
    "bash": """eval "$(kernel-exec completion bash)"
complete -p kernel-exec >/dev/null || exit 1
COMP_WORDS=(TYPED) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_kernel_exec_completion kernel-exec && printf '%s\\n' "${COMPREPLY[@]}" """,
    "zsh": """autoload -Uz compinit; compinit -D -u; eval "$(kernel-exec completion zsh)"
[[ -n ${_comps[kernel-exec]} ]] || exit 1
_describe() { print -rl -- ${completions_with_descriptions%%:*} }  # which a terminal would show
compadd() { print -rl -- $completions }
words=(TYPED) CURRENT=${#words}; _kernel_exec_completion""",
    "fish": "kernel-exec completion fish | source; complete -C 'TYPED'",
}
PLAIN = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}


@pytest.mark.parametrize(
    ("words", "expected"),
    [("exp", {"export"}), ("init cla", {"claude-code", "claude-desktop"}),
     ("export --form", {"--format"})],
)  # fmt: skip
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_and_clients(
    shell: str, words: str, expected: set[str], tmp_path: Path
) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    ours = tmp_path / "kernel-exec"
    ours.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m kernel_exec "$@"\n')
    ours.chmod(0o700)

    finished = subprocess.run(
        [program, *PLAIN[shell], "-c", SHELLS[shell].replace("TYPED", f"kernel-exec {words}")],
        env={"HOME": str(tmp_path), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert {line.partition("\t")[0] for line in finished.stdout.splitlines()} - {""} == expected
