"""How sessions are named: by those who ask for one, and to those who have to choose."""

import difflib
import json
import re
import time
from collections.abc import Collection

from kernel_exec.environments.catalog import Catalog
from kernel_exec.environments.spec import Environment
from kernel_exec.errors import InvalidArgumentError, NotFoundError
from kernel_exec.history.entries import DEFAULT_NAME, ID_SHOWN
from kernel_exec.history.store import Store

from .session import Session

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_ID = re.compile(r"[0-9a-f]{32}")
_LONGEST = 100
"""Characters of a wrong name that its refusal repeats."""

_MOST_LISTED = 10
"""Sessions that a message lists."""


def checked(name: str) -> str:
    """A session's name as it is kept, "" for the default one.

    Raises:
        InvalidArgumentError: It is not allowed.
    """
    if name and not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            f"session name {name[:_LONGEST]!r} is not allowed:"
            " use letters, digits, '_', '.' and '-', at most 100 of them"
        )
    return "" if name == DEFAULT_NAME else name


def placed(
    wanted: str, environment: Environment, catalog: Catalog, opened: Collection[Session]
) -> tuple[str, Environment]:
    """The name and the environment of a session that may be given as name@environment.

    Raises:
        NotFoundError: No such environment is known.
    """
    name, at, place = wanted.partition("@")
    if not at:
        return checked(wanted), environment
    known = catalog.known()
    found = known.get(place) or Environment.from_key(place)
    if found is None:
        names = ", ".join(dict.fromkeys([*known, *(each.environment.key for each in opened)]))
        raise NotFoundError(f"no environment {place!r} is known for a session (known: {names})")
    return checked(name), found


async def identified(
    wanted: str, environment: Environment, store: Store
) -> tuple[str, Environment]:
    """The name and the environment of a session that may be given as a recorded one's id.

    Raises:
        InvalidArgumentError: It can't be continued.
    """
    record = await store.session(wanted) if _ID.fullmatch(wanted) else None
    if record is None:
        return wanted, environment
    place = Environment.from_key(record.environment)
    latest = await store.find_session(record.name, record.environment)
    if record.name == DEFAULT_NAME or place is None or latest != record:
        raise InvalidArgumentError(
            f"session {wanted} ({record.name}) has ended and can only be exported;"
            " use another session to run code"
        )
    return record.name, place


async def unknown(name: str, environment: Environment, store: Store) -> NotFoundError:
    """What to tell of a name that no session has."""
    records = list(reversed(await store.sessions()))
    here = dict.fromkeys(record.name for record in records if record.environment == environment.key)
    elsewhere = next((each.environment for each in records if each.name == name), "")
    names = [each for each in here if each != DEFAULT_NAME]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if elsewhere:
        hint = f"; the one in another environment is {f'{name}@{elsewhere}'!r}"
    listed = ", ".join([DEFAULT_NAME, *names[:_MOST_LISTED]])
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return NotFoundError(
        f"no session named {name!r} exists in this environment{hint} (sessions: {listed}{more};"
        " execute_code begins a new one)"
    )


def address(session: Session, environment: str) -> str:
    """What names a session in the environment with that key: its name, or name@environment."""
    key = session.environment.key
    return session.name if key == environment else f"{session.name}@{key}"


def whose(session: Session, connection: str) -> str:
    """Of which client a session is that a connection does not use, and where that works; or ""."""
    if connection in session.clients.names:
        return ""
    clients = sorted({name for name in session.clients.names.values() if name})
    here = "" if clients else ", which has left"
    client = " and ".join(clients) or session.record.client or "another client"
    place = f" in {session.record.folder}" if session.record.folder else ""
    return f"of {client}{place}{here}"


def continues(session: Session) -> str:
    """What a client should know that finds a kernel in a session: since when, and what it has."""
    status, kept = session.status(), session.ledger.kept
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.started))
    count = len(status.names)
    names = f"{count} name{'' if count == 1 else 's'}"
    last = "".join(
        f", latest step {each.number}: {each.outcome.value} (id {each.id})" for each in kept[-1:]
    )
    return (
        f"session {session.name} continues: kernel {status.generation} since {since}, {names}{last}"
    )


def holders(sessions: Collection[Session], environment: str) -> str:
    """Which sessions have kernels, and how somebody in that environment can end one."""
    clients = {client for each in sessions for client in each.clients.names}
    found = [(each, each.status()) for each in sessions]
    idle = [(status.idle, each) for each, status in found if status.idle is not None]
    idle.sort(key=lambda each: (each[1].environment.key == environment, each[0]), reverse=True)
    busy = [each for each, status in found if status.state == "busy"]

    def is_anyones(session: Session) -> bool:
        """False for what may be another client's own."""
        return session.name != DEFAULT_NAME or len(clients) <= 1

    def named(session: Session) -> str:
        name, whose = address(session, environment), session.record.client or "another client"
        return name if is_anyones(session) else f"{name} of {whose} {session.id[:ID_SHOWN]}"

    parts = []
    if idle:
        waiting = [f"{named(each)} ({seconds:.0f} s)" for seconds, each in idle[:_MOST_LISTED]]
        parts.append(f"Idle sessions: {', '.join(waiting)}.")
    if busy:
        parts.append(f"Busy sessions: {', '.join(map(named, busy[:_MOST_LISTED]))}.")
    if ours := [address(each, environment) for _, each in idle if is_anyones(each)]:
        call = f'execute_code(code="exit()", session={json.dumps(ours[0], ensure_ascii=False)})'
        parts.append(f"To end the kernel of one, call {call}.")
    elif idle:
        parts.append("They belong to other clients: `kernel-exec stop` ends one.")
    else:
        parts.append("No session is idle: wait for an execution, or stop one.")
    return " ".join(parts)
