"""How a client's configuration comes to start us, and no longer the server before us. Pure."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from kernel_exec.environments.activation import allowed_variables
from kernel_exec.errors import InvalidArgumentError
from kernel_exec.jsons import JSON
from kernel_exec.options import BY_KEY, PLACE_OF

from .catalog import Client
from .entries import NAME, Entry, fields, is_seed, outside, read

_DIRECTORY: Final = BY_KEY["working_directory"].variable
_PASSED: Final = BY_KEY["pass_env"].variable
_CONFIG: Final = BY_KEY["config"].variable
CHOICE: Final = {BY_KEY[key].variable for key in ("env_type", *PLACE_OF.values())}
"""The variables that choose an environment, all of which are taken from one place."""
_BY_OPTION: Final = {setting.option: setting.variable for setting in BY_KEY.values()}
_CHOSEN: Final = {"enabled", "tools"}
"""Members of an entry with which users narrow what it may do."""
_PATHS_OF_SEED: Final = frozenset(
    BY_KEY[key].variable for key in ("storage_dir", "venv_path", "uv_venv_path")
)
"""Its variables that hold a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the entry should say.

    `launcher` starts this program. Variables that were `given` hold before those that an entry has,
    and `found` is the environment of the current folder, for want of another. Servers start in
    `directory`, where that is not "".
    """

    launcher: tuple[str, ...]
    given: Mapping[str, str]
    found: Mapping[str, str]
    directory: str = ""


def registered(text: str, client: Client, wanted: Wanted) -> tuple[str, Sequence[str]]:
    """The text with us in it, in the place of an older entry or the seed's; and warnings.

    Raises `InvalidArgumentError` when another program has our name there.
    """
    document = client.format.parse(text)
    servers = servers_of(document, client)
    entries = {name: entry for name, each in servers.items() if (entry := read(each))}
    ours = [name for name, entry in entries.items() if entry.is_ours]
    seeds = {name: _of_seed(each) for name, each in entries.items() if is_seed(name, each)}
    if NAME in servers.keys() - {*ours, *seeds}:
        raise InvalidArgumentError(
            f"`{client.servers}.{NAME}` starts another program; rename or remove it"
        )
    name = NAME if NAME in ours or not ours else ours[0]
    words, own = _options(entries[name].options or ()) if name in ours else (["serve"], {})
    if name in ours:
        own |= entries[name].env
    env = _merged([wanted.given, own, *(seed.variables for seed in seeds.values())], wanted.found)
    warnings = [each for seed in seeds.values() for each in seed.warnings]
    for key, seed in seeds.items():
        if name not in entries:
            text, entries = _renamed(text, client, key), {**entries, name: entries[key]}
            warnings.append(f"{key!r} is replaced, and its variables are kept")
        elif not _lost(seed.variables, env, wanted.given):
            text = _dropped(text, client, key)
        else:
            warnings.append(f"{key!r} has other settings and stays, with the same tools")
    warnings += _in_folders(document, client)
    directory = env.pop(_DIRECTORY, wanted.directory)
    if directory == wanted.directory != "":
        words += ["--working-directory", directory]
    elif directory:
        env[_DIRECTORY] = directory
    members = fields(Entry(command=(*wanted.launcher, *words), env=env), client.shape)
    return _put(text, client, name, members), warnings


def unregistered(text: str, client: Client) -> str:
    """The text without us."""
    for name in ours_in(client.format.parse(text), client):
        text = _dropped(text, client, name)
    return text


def ours_in(document: Mapping[str, object], client: Client) -> list[str]:
    """The names under which a document starts us."""
    servers = servers_of(document, client)
    return [name for name, each in servers.items() if (entry := read(each)) and entry.is_ours]


def others_in(document: Mapping[str, object], client: Client) -> Mapping[str, object]:
    """The document without us and the seed, and without a table of servers that is empty then."""
    servers = {
        name: each
        for name, each in servers_of(document, client).items()
        if not ((entry := read(each)) and (entry.is_ours or is_seed(name, entry)))
    }
    rest = {**document, client.servers: servers}
    return rest if servers else {key: rest[key] for key in rest.keys() - {client.servers}}


def servers_of(document: Mapping[str, object], client: Client) -> Mapping[str, object]:
    """The servers in a document, by name; raises `ValueError` when they are no object."""
    servers = document.get(client.servers, {})
    if not isinstance(servers, Mapping):
        raise ValueError(f"`{client.servers}` is not an object")
    return servers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seed:
    variables: Mapping[str, str]
    warnings: Sequence[str]


def _of_seed(entry: Entry) -> _Seed:
    """What the seed was told, with those of its variables passed on that its code could see."""
    variables, lost = outside(entry, _PATHS_OF_SEED)
    if CHOICE & set(lost):
        variables = {name: each for name, each in variables.items() if name not in CHOICE}
    ours = {setting.variable for setting in BY_KEY.values()}
    seen = allowed_variables(variables, passed=())
    if foreign := sorted(variables.keys() - seen.keys() - ours):
        variables[_PASSED] = ",".join(foreign)
    warnings = [f"{name} is left out: its folder is inside of the container" for name in lost]
    return _Seed(variables=variables, warnings=warnings)


def _in_folders(document: Mapping[str, object], client: Client) -> list[str]:
    """What to know about servers like us that a client starts in single folders."""
    before, behind = client.by_folder or ("", "")
    folders = document.get(before)
    return [
        f"{name!r} stays in {folder}; `{client.program} mcp remove {name}` there removes it"
        for folder, value in (folders.items() if isinstance(folders, Mapping) else ())
        if isinstance(value, Mapping) and isinstance(servers := value.get(behind), Mapping)
        for name, each in servers.items()
        if (entry := read(each)) and (entry.is_ours or is_seed(name, entry))
    ]


def _options(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The arguments of an older entry: words that are none of a setting's, and settings."""
    kept, variables = [], {}
    rest = iter(words)
    for word in rest:
        option, is_one, value = word.partition("=")
        if variable := _BY_OPTION.get(option):
            variables[variable] = value if is_one else next(rest, "")
        else:
            kept.append(word)
    return kept if "serve" in kept else ["serve", *kept], variables


def _merged(layers: Sequence[Mapping[str, str]], found: Mapping[str, str]) -> dict[str, str]:
    """The variables of all layers, the first the strongest; an environment is one layer's alone."""
    if not any(_CONFIG in layer for layer in layers):  # where it may be chosen
        layers = [*layers, found]
    merged = {
        name: value
        for layer in reversed(layers)
        for name, value in layer.items()
        if name not in CHOICE
    }
    chosen: Mapping[str, str] = next((layer for layer in layers if CHOICE & layer.keys()), {})
    return merged | {name: chosen[name] for name in chosen if name in CHOICE}


def _lost(
    variables: Mapping[str, str], env: Mapping[str, str], given: Mapping[str, str]
) -> set[str]:
    """The variables that do not hold any more, though nobody gave others."""
    replaced = given.keys() | (CHOICE if CHOICE & given.keys() else set())
    return {name for name, value in variables.items() if env.get(name) != value} - replaced


def _put(text: str, client: Client, name: str, members: Mapping[str, JSON]) -> str:
    old = servers_of(client.format.parse(text), client).get(name)
    kept = old if isinstance(old, Mapping) else {}  # what the user has chosen since stays
    members = {key: each for key, each in members.items() if key not in _CHOSEN & kept.keys()}
    changed = client.format.put(text, (client.servers, name), members)
    return _checked(changed, text, client, {name: {**kept, **members}})


def _dropped(text: str, client: Client, name: str) -> str:
    changed = client.format.drop(text, (client.servers, name))
    return _checked(changed, text, client, {}, without=name)


def _renamed(text: str, client: Client, name: str) -> str:
    changed = client.format.rename(text, (client.servers, name), NAME)
    entry = servers_of(client.format.parse(text), client)[name]
    return _checked(changed, text, client, {NAME: entry}, without=name)


def _checked(
    changed: str, text: str, client: Client, put: Mapping[str, object], without: str | None = None
) -> str:
    """`changed` if it is `text` with servers `put` there, `without` one, and else as it was."""
    before = client.format.parse(text)
    servers = {name: each for name, each in servers_of(before, client).items() if name != without}
    with suppress(ValueError):
        after = {client.servers: {}, **client.format.parse(changed)}
        if after == {**before, client.servers: {**servers, **put}}:
            return changed
    raise ValueError(f"`{client.servers}` has a layout that can't be edited; edit it by hand")
