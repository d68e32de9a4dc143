"""`kernel-exec completion`: what makes a shell complete our commands."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_KERNEL_EXEC_COMPLETE"
"""What the script sets when the shell asks for completions; click reads it."""


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    r"""Print the script that makes a shell complete commands and options.

    \b
    bash: echo 'eval "$(kernel-exec completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(kernel-exec completion zsh)"' >> ~/.zshrc
    fish: kernel-exec completion fish > ~/.config/fish/completions/kernel-exec.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(ctx.find_root().command, {}, "kernel-exec", _VARIABLE).source())
