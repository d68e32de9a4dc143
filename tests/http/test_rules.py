"""What may be opened, and who gets in."""

from dataclasses import asdict, replace

import pytest

from kernel_exec.errors import InvalidArgumentError
from kernel_exec.http.rules import Asked, Gate, asked_in, gate_of, require_safe

TOKEN = "t" * 43
HOST = (b"host", b"127.0.0.1:80")
BEARER = (b"authorization", b"Bearer " + TOKEN.encode())
JSON = (b"content-type", b"application/json")
GATE = gate_of(Asked(port=80), TOKEN, 80)
PUBLIC = Asked(bind="0.0.0.0", token=TOKEN, hosts=["mcp.example.org"], behind_proxy=True)


@pytest.mark.parametrize(
    "asked",
    [
        Asked(),
        Asked(bind="127.0.0.2"),
        Asked(bind="::1"),
        Asked(port=0, hosts=["localhost:9000"]),
        PUBLIC,
        replace(PUBLIC, behind_proxy=False, tls_cert="/c", tls_key="/k"),
        replace(PUBLIC, bind="::"),
        replace(PUBLIC, hosts=["[2001:db8::1]:8443", "192.0.2.7", "a-b.example:1"]),
    ],
)
def test_what_is_safe_may_be_opened(asked: Asked) -> None:
    require_safe(asked, is_root=False, is_walled=True)
    require_safe(replace(asked, allow_root=True), is_root=True, is_walled=True)
    with pytest.RaisesGroup(pytest.RaisesExc(InvalidArgumentError, match="--allow-root")):
        require_safe(asked, is_root=True, is_walled=True)


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        (Asked(bind="0.0.0.0"), ["--token-file", "--allowed-host", "--tls-cert", "--behind-proxy"]),
        (Asked(bind="::"), ["--token-file", "--allowed-host", "--tls-cert", "--behind-proxy"]),
        (Asked(bind="192.0.2.7"), ["--token-file", "--allowed-host", "--behind-proxy"]),
        (replace(PUBLIC, token=""), ["--token-file"]),
        (replace(PUBLIC, hosts=[]), ["--allowed-host"]),
        (replace(PUBLIC, behind_proxy=False), ["--tls-cert with --tls-key", "--behind-proxy"]),
        (Asked(tls_cert="/c"), ["--tls-cert and --tls-key belong together"]),
        (Asked(tls_key="/k"), ["--tls-cert and --tls-key belong together"]),
        (Asked(bind="example.org"), ["--bind 'example.org' is no IP address"]),
        (Asked(bind=""), ["--bind '' is no IP address"]),
        (Asked(bind="127.1"), ["--bind '127.1' is no IP address"]),
        *(
            (Asked(hosts=[host]), [f"--allowed-host {host!r} is no host"])
            for host in ("", "*", "*.example.org", "http://example.org", "a/b", "a@b", "a:b", "a b",
                         "a..b", "example.org:", "::1", "ex\u00e4mple.org", "a\n")
        ),
    ],
)  # fmt: skip
def test_a_refusal_says_all_that_is_missing(asked: Asked, missing: list[str]) -> None:
    with pytest.RaisesGroup(InvalidArgumentError) as refused:
        require_safe(asked, is_root=False, is_walled=True)
    text = str(refused.value.exceptions[0])
    for word in missing:
        assert word in text
    given = {"--token-file": asked.token, "--allowed-host": asked.hosts}
    assert not [word for word, value in given.items() if value and f"pass {word}" in text]


def test_other_machines_reach_code_behind_walls_unless_somebody_says_otherwise() -> None:
    beyond = pytest.RaisesExc(InvalidArgumentError, match="also pass --sandbox isolated, workspace")
    with pytest.RaisesGroup(beyond):
        require_safe(PUBLIC, is_root=False, is_walled=False)
    require_safe(Asked(), is_root=False, is_walled=False)


def test_what_is_asked_arrives_as_it_was_and_what_is_unknown_is_refused() -> None:
    """A host process of another version must not open more than it was asked for."""
    assert asked_in(asdict(PUBLIC)) == PUBLIC
    with pytest.raises(InvalidArgumentError, match="another version, which differs in walls"):
        asked_in({**asdict(PUBLIC), "walls": "isolated"})
    with pytest.raises(InvalidArgumentError, match="differs in bind, hosts"):
        asked_in({"port": 1, "token": "", "tls_cert": "", "tls_key": "", "behind_proxy": False,
                  "allow_root": False})  # fmt: skip


def test_a_token_is_never_shown_by_what_holds_it() -> None:
    assert TOKEN not in repr(PUBLIC)
    assert TOKEN not in repr(GATE)


@pytest.mark.parametrize("token", ["", "short", "t" * 31, "t" * 32 + " ", "t" * 40 + "\u00e4"])
def test_no_gate_has_a_token_that_could_be_guessed(token: str) -> None:
    with pytest.raises(InvalidArgumentError, match="at least 32"):
        gate_of(Asked(), token, 80)


def refused(*headers: tuple[bytes, bytes], method: str = "POST", path: str = "/mcp") -> int:
    """The status; 200 for what gets in."""
    refusal = GATE.refusal(method, path, headers)
    assert refusal is None or (refusal.message and TOKEN not in refusal.message)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize(
    "host", [b"127.0.0.1:80", b"localhost:80", b"LocalHost:80", b"[::1]:80", b"localhost"]
)
def test_a_request_that_names_us_gets_in(host: bytes) -> None:
    assert refused((b"host", host), BEARER, JSON) == 200
    assert refused((b"host", host), BEARER, JSON, (b"origin", b"http://localhost:80")) == 200
    assert refused((b"host", host), path="/health", method="GET") == 200


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example:80", b"localhost:80@evil", b"evil@localhost:80", b"localhost:8080",
        b"localhost.:80", b"localhost:80.evil.example", b"localhost:", b"localhost:080",
        b"127.0.0.1:80, evil", b"127.0.0.2:80", b"0.0.0.0:80", b"::1", b"", b"\xff",
        b"localhost:80 ",
    ],
)  # fmt: skip
def test_a_request_that_names_another_host_is_misdirected(host: bytes) -> None:
    assert refused((b"host", host), BEARER, JSON) == 421
    assert refused((b"host", host), path="/health", method="GET") == 421
    assert refused(BEARER, JSON) == 421


@pytest.mark.parametrize(
    "origin",
    [
        b"http://evil.example", b"null", b"http://localhost:80.evil.example", b"", b"*",
        b"https://localhost:80", b"http://localhost:80/", b"HTTP://localhost:80", b"file://",
    ],
)  # fmt: skip
def test_a_page_of_somebody_else_does_not_get_in(origin: bytes) -> None:
    assert refused(HOST, BEARER, JSON, (b"origin", origin)) == 403
    assert refused(HOST, (b"origin", origin), path="/health", method="GET") == 403


@pytest.mark.parametrize(
    "given",
    [
        b"", b"Bearer", b"Bearer ", b"Bearer t", TOKEN.encode(), b"Basic " + TOKEN.encode(),
        b"Bearer " + TOKEN.encode() + b"t", b"Bearer " + TOKEN[1:].encode(), b"Bearer \xff",
        b"Bearer" + TOKEN.encode(), b"Bearer\t" + TOKEN.encode(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_who_does_not_carry_the_token_is_not_let_in(given: bytes, method: str) -> None:
    assert refused(HOST, JSON, (b"authorization", given), method=method) == 401
    assert refused(HOST, JSON, method=method) == 401


@pytest.mark.parametrize("given", [b"Bearer ", b"bearer ", b"BEARER  "])
def test_the_word_before_the_token_is_read_as_rfc_7235_says(given: bytes) -> None:
    assert refused(HOST, JSON, (b"authorization", given + TOKEN.encode())) == 200


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (b"application/json", 200), (b"Application/JSON; charset=utf-8", 200),
        (b"text/plain", 415), (b"application/jsonfoo", 415), (b"application/json, text/plain", 415),
        (b"application/x-www-form-urlencoded", 415), (b"", 415),
    ],
)  # fmt: skip
def test_a_body_is_json_and_nothing_that_a_form_can_send(kind: bytes, status: int) -> None:
    assert refused(HOST, BEARER, (b"content-type", kind)) == status
    assert refused(HOST, BEARER) == 415
    assert refused(HOST, BEARER, method="GET") == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/mcp", 405), ("OPTIONS", "/mcp", 405), ("HEAD", "/mcp", 405), ("POST", "/", 404),
        ("POST", "/mcp/", 404), ("GET", "/.well-known/oauth-protected-resource", 404),
        ("POST", "http://localhost:80/mcp", 404), ("POST", "/health", 405),
        ("HEAD", "/health", 200),
    ],
)  # fmt: skip
def test_there_is_nothing_else(method: str, path: str, status: int) -> None:
    assert refused(HOST, JSON, method=method, path=path) == status


@pytest.mark.parametrize(
    "header",
    [
        HOST, BEARER, JSON, (b"origin", b"http://localhost:80"), (b"mcp-session-id", b"1"),
        (b"mcp-protocol-version", b"1"),
    ],
)  # fmt: skip
def test_a_header_that_decides_is_there_once(header: tuple[bytes, bytes]) -> None:
    others = [each for each in (HOST, BEARER, JSON) if each[0] != header[0]]
    assert refused(*others, header) == 200
    assert refused(*others, header, header) == 400
    assert refused(*others, header, (header[0], b"other")) == 400


def hosts(gate: Gate) -> set[str]:
    return {host.decode() for host in gate.hosts}


def test_allowed_hosts_are_met_as_they_are_and_with_our_port() -> None:
    gate = gate_of(replace(PUBLIC, hosts=["a.example", "b.example:8443"]), TOKEN, 9000)
    named = {"a.example", "a.example:9000", "b.example:8443"}
    loopback = {"127.0.0.1:9000", "localhost:9000", "[::1]:9000"}
    assert named | loopback < hosts(gate)
    assert "b.example" not in hosts(gate)
    assert b"https://a.example" in gate.origins
    assert b"http://a.example" not in gate.origins
    beyond = gate_of(replace(PUBLIC, bind="192.0.2.7"), TOKEN, 9000)
    assert hosts(beyond) == {"mcp.example.org", "mcp.example.org:9000"}


@pytest.mark.parametrize(
    ("asked", "url"),
    [
        (Asked(), "http://127.0.0.1:9/mcp"),
        (Asked(bind="::1"), "http://[::1]:9/mcp"),
        (PUBLIC, "https://mcp.example.org/mcp"),
        (replace(PUBLIC, behind_proxy=False, tls_cert="c"), "https://mcp.example.org:9/mcp"),
        (Asked(hosts=["a.example:80"]), "http://a.example:80/mcp"),
    ],
)
def test_the_url_is_what_clients_use(asked: Asked, url: str) -> None:
    assert asked.url(9) == url
