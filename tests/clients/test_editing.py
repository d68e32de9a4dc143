"""Texts of configurations are edited, and come back as they were."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_exec.clients import jsonc
from kernel_exec.clients.catalog import CLIENTS, Client
from kernel_exec.clients.registering import Wanted, registered
from kernel_exec.clients.undoing import recorded, undone

CURSOR, CODEX = (
    next(client for client in CLIENTS if client.name == name) for name in ("cursor", "codex")
)
WANTED = Wanted(
    launcher=("/opt/bin/kernel-exec",),
    given={},
    found={"ENV_TYPE": "venv", "VENV_PATH": "/p/.venv"},
    directory=".",
)
JSONS = [
    "",
    "\n\n",
    "{}",
    "  { }  ",
    "{\n}\n",
    '{"mcpServers": {}}',
    '{"mcpServers":{"a":{"command":"x"}}}',
    '{\n\t"x": 1,\n\t"mcpServers": {\n\t\t"a": {"command": "x"}\n\t}\n}\n',
    '{\r\n    "mcpServers": {\r\n        // hi\r\n        "a": {"command": "x"}, // o\r\n },\r\n}',
    '{ // c\n  "x": 1, "mcpServers": { /* a\n */ "a": 1}}',
    "// only a comment",
    "// a comment\n{}",
    '{"mcpServers": { /* nothing */ }}',
    '{"mcpServers": { // nothing\n }}',
    '{"a": "}{\\"//", "mcpServers": {"/*": {"command": "y//"}}}',
    '{"\\u006dcpServers": {}}',
    '{\n  "mcpServers": {\n    "a": {"command": "x"} // behind\n    // the last\n  }\n}\n',
    '{\n  "mcpServers": {\n    // "kernel-exec": {"command": "old"}\n  }\n}',
    '{"x": {"mcpServers": {"kernel-exec": {"command": "other"}}}, "a": 1, "a": 2}',
    '{"mcpServers":\n\n{\n"a"\n:\n{}\n,}\n}',
    '{"a": 1e400, "b": 123456789012345678901234567890, "c": "\\ud800"}',
]
TOMLS = [
    "",
    "a = 1",
    "a = 1\n",
    '# c\n[mcp_servers.a]\ncommand = "x"\n\n\n# tail\n',
    '[mcp_servers]\na = {command = "x"}\n',
    'a = 1\r\n\r\n[mcp_servers.b]\r\ncommand = "y"\r\n',
    'x = [\n  ["a"],\n]\n[[y]]\nz = 1\n',
    'mcp_servers.a.command = "x"\n',
    '[ mcp_servers . "a" ]\nd = 1979-05-27T07:32:00Z\n[mcp_servers.a.env]\nA = "b"',
    '[[p]]\na = 1\n[p.mcp_servers.kernel-exec]\ncommand = "other"\n',
]
BOTH = [(CURSOR, text) for text in JSONS] + [(CODEX, text) for text in TOMLS]


@pytest.mark.parametrize(("client", "text"), BOTH)
def test_what_is_registered_twice_and_removed_once_leaves_the_text_as_it_was(
    client: Client, text: str
) -> None:
    after, _ = registered(text, client, WANTED)
    record = recorded(text, after, client)

    again, _ = registered(after, client, WANTED)

    assert again == after != text
    servers = client.format.parse(after)[client.servers]
    assert isinstance(servers, Mapping)
    entry = servers["kernel-exec"]
    assert entry["command"] == "/opt/bin/kernel-exec"
    assert entry["args"] == ["serve", "--working-directory", "."]
    assert entry["env"] == WANTED.found
    assert undone(after, client, record) == text


@pytest.mark.parametrize("text", JSONS[5:9])
def test_of_a_text_that_was_formatted_since_only_our_entry_goes(text: str) -> None:
    after, _ = registered(text, CURSOR, WANTED)
    formatted = json.dumps({"new": 1, **jsonc.parse(after)}, indent=8)

    left = undone(formatted, CURSOR, recorded(text, after, CURSOR))

    assert left is not None
    assert jsonc.parse(left) == {"new": 1, **jsonc.parse(text)}


def test_what_others_have_added_since_stays() -> None:
    after, _ = registered("{}", CURSOR, WANTED)
    record = recorded(None, after, CURSOR)
    more = jsonc.put(after, ("mcpServers", "b"), {"command": "b"})

    left = undone(more, CURSOR, record)

    assert left is not None
    assert jsonc.parse(left) == {"mcpServers": {"b": {"command": "b"}}}
    assert undone(after, CURSOR, record) is None


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), _VALUES, max_size=4),
    st.none() | st.dictionaries(st.text(), st.dictionaries(st.text(), _VALUES), max_size=3),
    st.sampled_from([None, 1, 4, "\t"]),
    st.booleans(),
)
def test_any_json_comes_back(
    document: dict[str, object], servers: dict[str, object] | None, indent: int | str, raw: bool
) -> None:
    document.pop("mcpServers", None)
    if servers is not None:
        document["mcpServers"] = {k: v for k, v in servers.items() if k != "kernel-exec"}
    text = json.dumps(document, indent=indent, ensure_ascii=not raw)

    after, _ = registered(text, CURSOR, WANTED)

    kept = json.loads(after)
    del kept["mcpServers"]["kernel-exec"]
    assert kept == {"mcpServers": {}, **document}
    assert undone(after, CURSOR, recorded(text, after, CURSOR)) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "Expecting"),
        ("[]", "it is not an object"),
        ('{"mcpServers": []}', "`mcpServers` is not an object"),
        ('{"mcpServers": null}', "`mcpServers` is not an object"),
        ('{"mcpServers": {}, "mcpServers": {}}', "`mcpServers` occurs twice"),
        ('{"a": 1} /* open', "Extra data"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_text_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        registered(text, CURSOR, WANTED)


@pytest.mark.parametrize(
    "text",
    [
        "[",
        'mcp_servers = { a = { command = "x" } }',
        'mcp_servers.kernel-exec.command = "kernel-exec"',
        "mcp_servers = {}",
        '[mcp_servers]\nkernel-exec = { command = "kernel-exec" }',
        'x = """\n[mcp_servers.kernel-exec]\n"""\n',
    ],
)
def test_toml_that_can_not_be_edited_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"edit it by hand|Invalid|Unclosed|Expected"):
        registered(text, CODEX, WANTED)


SEED_VARIABLES = {
    "CODE_STORAGE_DIR": "/d", "ENV_TYPE": "conda", "CONDA_ENV_NAME": "ml", "KEY": "k",
}  # fmt: skip
SEED = {
    "command": "node",
    "args": ["/x/mcp_code_executor/build/index.js"],
    "env": SEED_VARIABLES,
    "autoApprove": ["execute_code"],
}


def test_the_server_before_us_is_replaced_with_its_variables_and_put_back() -> None:
    text = json.dumps({"mcpServers": {"a": {"command": "x"}, "mcp-code-executor": SEED}}, indent=1)

    after, warnings = registered(text, CURSOR, WANTED)

    entry = json.loads(after)["mcpServers"]["kernel-exec"]
    assert entry["env"] == {**SEED_VARIABLES, "KERNEL_EXEC_PASS_ENV": "KEY"}
    assert entry["autoApprove"] == ["execute_code"]
    assert "mcp-code-executor" not in json.loads(after)["mcpServers"]
    assert warnings == ["'mcp-code-executor' is replaced, and its variables are kept"]
    record = recorded(text, after, CURSOR)
    assert undone(after, CURSOR, record) == text
    other = after.replace('"x"', '"y"')
    assert undone(other, CURSOR, record) == text.replace('"x"', '"y"')


def test_of_a_container_only_what_holds_outside_is_kept() -> None:
    arguments = (
        "run -i --rm -v /mine/code:/app/code:rw -e CODE_STORAGE_DIR=/app/code/a -e ENV_TYPE=venv"
        " --env=VENV_PATH=/app/v mcp-code-executor"
    )
    text = json.dumps({"mcpServers": {"python": {"command": "docker", "args": arguments.split()}}})

    after, warnings = registered(text, CURSOR, WANTED)

    env = json.loads(after)["mcpServers"]["kernel-exec"]["env"]
    assert env == {"CODE_STORAGE_DIR": "/mine/code/a", **WANTED.found}
    assert "VENV_PATH is left out: its folder is inside of the container" in warnings


def test_an_older_entry_keeps_its_settings_and_what_others_put_there() -> None:
    old = {
        "command": "/old/kernel-exec",
        "args": ["serve", "--time-limit=9", "--working-directory", "/w"],
        "env": {"CODE_STORAGE_DIR": "/d"},
        "disabled": True,
    }
    text = json.dumps({"mcpServers": {"python": old}})

    after, _ = registered(text, CURSOR, WANTED)

    entry = json.loads(after)["mcpServers"]["python"]
    assert (entry["command"], entry["args"]) == ("/opt/bin/kernel-exec", ["serve"])
    assert entry["env"] == {
        "CODE_STORAGE_DIR": "/d",
        "KERNEL_EXEC_TIME_LIMIT": "9",
        "KERNEL_EXEC_WORKING_DIRECTORY": "/w",
        **WANTED.found,
    }
    assert entry["disabled"] is True


def test_another_program_of_our_name_is_left_alone() -> None:
    text = '{"mcpServers": {"kernel-exec": {"command": "other"}}}'

    with pytest.raises(Exception, match="starts another program; rename or remove it"):
        registered(text, CURSOR, WANTED)


def test_tools_and_servers_that_the_user_has_switched_off_stay_so() -> None:
    narrow = {"command": "kernel-exec", "args": [], "tools": ["execute_code"]}
    copilot = next(client for client in CLIENTS if client.name == "copilot")

    after, _ = registered(json.dumps({"mcpServers": {"x": narrow}}), copilot, WANTED)

    assert json.loads(after)["mcpServers"]["x"]["tools"] == ["execute_code"]
