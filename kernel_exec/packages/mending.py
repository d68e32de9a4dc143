"""What an install that was ended has left half done, and how it is undone.

A note of what an environment was lies beside its lock for as long as an install takes. One that is
found before the next install is that of a server which was killed: it is mended then.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name
from pydantic import TypeAdapter

from kernel_exec.environments import conda
from kernel_exec.environments.interpreters import torn
from kernel_exec.errors import KernelExecError

from .installers import Order, put_back
from .inventory import Inventory, compare, take_inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An install that began, in seconds of the epoch, and what was installed before it."""

    began: float
    before: Inventory


_NOTE = TypeAdapter(Begun)


def take_note(note: Path, before: Inventory) -> Begun:
    """Take note of an install that begins now; raises `OSError`."""
    begun = Begun(began=time.time(), before=before)
    half = note.with_suffix(".new")
    half.write_bytes(_NOTE.dump_json(begun))
    half.replace(note)
    return begun


def read_note(note: Path) -> Begun | None:
    """The install that was never finished; None when there is none."""
    try:
        return _NOTE.validate_json(note.read_bytes())
    except (OSError, ValueError):
        return None


async def mend(order: Order, begun: Begun, variables: Mapping[str, str]) -> str:
    """Undo what an ended installer has left half done; says in which state the environment is."""
    python = order.interpreter
    try:
        # the clock of the file system may be coarser than ours
        half = await torn(python.executable, since=begun.began - 1, variables=variables)
        now = _versions(await take_inventory(python, variables=variables))
        was = _versions(begun.before)
        versions = {name: version for name, version in was.items() if name not in now}
        for name in map(canonicalize_name, half):
            if name in now:  # one that is new has no version to go back to, and is completed
                versions[name] = was.get(name, now[name])
        failed = ""
        if versions and conda.is_prefix(python.prefix):  # whose files uv must not mix with its own
            failed = f"{', '.join(sorted(versions))}: conda did not roll back"
        elif versions:
            failed = await put_back(order, versions)
        changes = compare(begun.before, await take_inventory(python, variables=variables))
    except KernelExecError as error:
        return f"the environment does not respond: {error}"
    state = f"changed: {changes}" if changes.after else "nothing has changed"
    if failed:
        return f"a half-finished change could not be undone ({failed}); install again; {state}"
    return f"the environment is usable; {state}"


def _versions(inventory: Inventory) -> dict[str, str]:
    return {canonicalize_name(each.name): each.version for each in inventory}
