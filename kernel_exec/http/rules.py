"""What may be opened over HTTP, and which requests get in. Pure.

Loopback is no protection by itself: every user of the machine reaches it, and so does every page
in the user's browser. So each request carries a token, and names us, and no foreign page, exactly.
"""

import dataclasses
import hmac
import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kernel_exec.errors import InvalidArgumentError
from kernel_exec.jsons import JSONObject, count, items, text

LOOPBACK: Final = "127.0.0.1"
PORT: Final = 8768
"""Where clients find us unless another port was asked for: their configuration names it."""

PATH: Final = "/mcp"
HEALTH: Final = "/health"

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_DEFAULT_PORT = {"http": 80, "https": 443}

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{32,}=*")
"""What RFC 6750 allows in a header, and long enough that nobody guesses it."""

TOKEN_FORM: Final = "at least 32 letters, digits or -._~+/ (such as `openssl rand -hex 32` makes)"

_HOST = re.compile(r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
"""A name or an address as clients put it into `Host`, perhaps with a port."""

_ONCE = {
    b"host", b"origin", b"authorization", b"content-type", b"mcp-session-id",
    b"mcp-protocol-version",
}  # fmt: skip
"""Headers that decide: of two, a proxy might have read the other one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How somebody wants to open MCP over HTTP; `port` 0 stands for any that is free.

    `token` is "" for a generated one, `tls_cert` and `tls_key` are absolute paths, "" for no TLS.
    """

    bind: str = LOOPBACK
    port: int = PORT
    token: str = field(default="", repr=False)
    hosts: Sequence[str] = ()
    tls_cert: str = ""
    tls_key: str = ""
    behind_proxy: bool = False
    allow_root: bool = False

    @property
    def scheme(self) -> str:
        """That of the URL which clients use."""
        return "https" if self.tls_cert or self.behind_proxy else "http"

    def url(self, port: int) -> str:
        """Where clients find us, who listen on `port`."""
        host = self.hosts[0] if self.hosts else _bracketed(self.bind)
        is_complete = self.behind_proxy or re.search(r":[0-9]+\Z", host)
        return f"{self.scheme}://{host}{'' if is_complete else f':{port}'}{PATH}"


def asked_in(fields: JSONObject) -> Asked:
    """What a command line asks for in a message; in one of another version it might be a limit."""
    unknown = fields.keys() ^ {each.name for each in dataclasses.fields(Asked)}
    if unknown:
        raise InvalidArgumentError(
            "the host process is of another version, which differs in"
            f" {', '.join(sorted(unknown))}; end it with `kernel-exec stop --all`, then try again"
        )
    return Asked(
        bind=text(fields, "bind"),
        port=count(fields, "port") or 0,
        token=text(fields, "token"),
        hosts=[str(each) for each in items(fields, "hosts")],
        tls_cert=text(fields, "tls_cert"),
        tls_key=text(fields, "tls_key"),
        behind_proxy=fields["behind_proxy"] is True,
        allow_root=fields["allow_root"] is True,
    )


def is_token(token: str) -> bool:
    """True for what may be a token, see `TOKEN_FORM`."""
    return _TOKEN.fullmatch(token) is not None


def require_safe(asked: Asked, *, is_root: bool, is_walled: bool) -> None:
    """Raise a group of `InvalidArgumentError`s, all that is missing to open what is `asked`.

    `is_walled` when walls stand around the code, or somebody has said that there be none.
    """
    wrong = _objections(asked, is_root=is_root, is_walled=is_walled)
    if errors := [InvalidArgumentError(each) for each in wrong]:
        raise ExceptionGroup("HTTP is not served like this", errors)


def _objections(asked: Asked, *, is_root: bool, is_walled: bool) -> Iterator[str]:
    if is_root and not asked.allow_root:
        yield (
            "clients would run code as root; serve HTTP as another user, or pass --allow-root"
            " if that is what you want"
        )
    if bool(asked.tls_cert) != bool(asked.tls_key):
        yield "--tls-cert and --tls-key belong together; pass both"
    for host in asked.hosts:
        if not _HOST.fullmatch(host):
            yield (
                f"--allowed-host {host!r} is no host; pass a name that clients use, such as"
                " mcp.example.org or mcp.example.org:8443"
            )
    address = _address(asked.bind)
    if address is None:
        yield f"--bind {asked.bind!r} is no IP address; pass one such as 127.0.0.1, ::1 or 0.0.0.0"
    elif not address.is_loopback and (
        needed := list(_needed_beyond_loopback(asked, is_walled=is_walled))
    ):
        yield f"other machines can reach {asked.bind}; also pass {' and '.join(needed)}"


def _needed_beyond_loopback(asked: Asked, *, is_walled: bool) -> Iterator[str]:
    """The options that are missing for an address that is not this machine's alone."""
    if not asked.token:
        yield "--token-file"
    if not asked.hosts:
        yield "--allowed-host"
    if not (asked.tls_cert or asked.behind_proxy):
        yield "either --tls-cert with --tls-key, or --behind-proxy"
    if not is_walled:
        yield "--sandbox isolated, workspace or, if you mean it, off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request does not get in, as an HTTP status and a sentence."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Who gets in: those who carry `token` and name one of `hosts`, from no page but of `origins`.

    All are compared exactly; names of hosts are in lower case.
    """

    token: bytes = field(repr=False)
    hosts: frozenset[bytes]
    origins: frozenset[bytes]

    def __post_init__(self) -> None:
        """Raise `InvalidArgumentError` for a token that could be guessed."""
        if not is_token(self.token.decode("ascii", "replace")):
            raise InvalidArgumentError(f"a token has {TOKEN_FORM}")

    def refusal(
        self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]]
    ) -> Refusal | None:
        """Why a request is refused by its head, whose header names are in lower case; or None."""
        times = Counter(name for name, _ in headers)
        for name in sorted(_ONCE):
            if times[name] > 1:
                return Refusal(status=400, message=f"{name.decode()} was sent more than once")
        given = dict(headers)
        if given.get(b"host", b"").lower() not in self.hosts:
            names = ", ".join(sorted(host.decode() for host in self.hosts))
            return Refusal(
                status=421, message=f"this server is not the Host that was named; it is {names}"
            )
        if b"origin" in given and given[b"origin"] not in self.origins:
            return Refusal(status=403, message="pages of this Origin may not use this server")
        if path == HEALTH:
            return None if method in {"GET", "HEAD"} else _wrong_method("GET, HEAD")
        if path != PATH:
            return Refusal(status=404, message=f"nothing is here; MCP is at {PATH}")
        if method not in {"POST", "GET", "DELETE"}:
            return _wrong_method("POST, GET, DELETE")
        return self._refused_inside(method, given)

    def _refused_inside(self, method: str, given: Mapping[bytes, bytes]) -> Refusal | None:
        scheme, _, token = given.get(b"authorization", b"").partition(b" ")
        is_known = hmac.compare_digest(token.strip(), self.token)
        if scheme.lower() != b"bearer" or not is_known:
            return Refusal(
                status=401,
                message="send the server's token as 'Authorization: Bearer TOKEN'; the server"
                " printed where it is when it began",
                headers={"www-authenticate": "Bearer"},
            )
        kind = given.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if method == "POST" and kind != b"application/json":
            return Refusal(status=415, message="Content-Type must be application/json")
        return None


def gate_of(asked: Asked, token: str, port: int) -> Gate:
    """The gate of a server that listens on `port`."""
    names = {f"{host}:{port}" for host in asked.hosts} | set(asked.hosts)
    address = _address(asked.bind)
    if address is not None and (address.is_loopback or address.is_unspecified):
        loopback = {*_LOOPBACK_NAMES, _bracketed(asked.bind)}
        names |= {f"{name}:{port}" for name in loopback}
        if port == _DEFAULT_PORT[asked.scheme]:
            names |= loopback
    return Gate(
        token=token.encode(),
        hosts=frozenset(name.encode() for name in names),
        origins=frozenset(f"{asked.scheme}://{name}".encode() for name in names),
    )


def _wrong_method(allowed: str) -> Refusal:
    return Refusal(status=405, message=f"send one of {allowed}", headers={"allow": allowed})


def _address(bind: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(bind)
    except ValueError:
        return None


def _bracketed(bind: str) -> str:
    return f"[{bind}]" if ":" in bind else bind
