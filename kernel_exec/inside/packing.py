"""Makes the bytes of a kernel's messages; runs in the kernel's process.

Python 3.8 syntax, standard library only. Everything leaves the kernel as valid UTF-8 and JSON.
jupyter_client's own packers don't see to that: half a surrogate pair, which is how Python spells
each byte of a file name that is not UTF-8, becomes a byte that no reader accepts, and a value that
has no JSON at all raises in the midst of ipykernel's own code.
"""

import base64
import datetime as dt
import json
import numbers

DEEPEST = 200
"""Levels of lists and objects that are sent; readers have a limit of their own above this."""

_DIGITS = 4000
"""Digits of a whole number that are sent as a number: Python reads no more than 4,300."""

_NO_NUMBERS = ("nan", "inf", "-inf")


def _dated(value):
    """What JSON has no word for in the head of every message: its date."""
    if type(value) is dt.datetime:
        return value.isoformat()
    raise TypeError


_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_dated
).encode
_encode_ascii = json.JSONEncoder().encode


def pack(content):
    """The bytes of one part of a message: exact if JSON can say it, else as close as it can."""
    try:
        return _encode(content).encode("utf-8")
    except Exception:
        return _encode_ascii(_plain(content, ())).encode("ascii")


def _plain(value, above):
    """`value` as JSON can say it; `above` holds the ids of what it is in."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        # `str` of a long one may be forbidden, and takes time in the square of its length
        return value if value.bit_length() < 3 * _DIGITS else hex(value)
    if isinstance(value, float):
        text = float.__repr__(value)
        return text if text in _NO_NUMBERS else value
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        if id(value) in above:
            return "[circular]"
        if len(above) == DEEPEST:
            return "[nested deeper than %d levels]" % DEEPEST
        above = (*above, id(value))
        if isinstance(value, dict):
            return {_key(key): _plain(each, above) for key, each in value.items()}
        return [_plain(each, above) for each in value]
    return _other(value)


def _key(key):
    """A key as `json` would write it, or the text of what can't be one."""
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, (bool, float)):
        return json.dumps(key)
    return str(_plain(key, ())) if isinstance(key, int) else _other(key)


def _other(value):
    try:
        if isinstance(value, numbers.Integral):
            return int(value)
        if isinstance(value, numbers.Real):
            return _plain(float(value), ())
        if isinstance(value, (dt.datetime, dt.date)):
            return value.isoformat()
        if isinstance(value, (bytes, bytearray, memoryview)):
            return base64.b64encode(value).decode("ascii")
        return str(value)
    except BaseException as error:  # a value's own code may raise anything, SystemExit included
        return "[a value that can't be shown: %s]" % type(error).__name__
