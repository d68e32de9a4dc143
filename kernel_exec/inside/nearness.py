"""Which of many names is so near to a wrong one that it was meant; loaded in the kernel's process.

Standard library only, Python 3.8 syntax. The measure follows Python's own suggestions
(`traceback.py` since 3.12): a letter added, dropped or replaced costs two, a change of case one, up
to a third of both lengths. Two swapped letters cost two.
"""

import time

_LONGEST = 40
_MOST = 2000
_PATIENCE = 0.1
"""Seconds that a search may take."""


def near(wrong, names, most=None):
    """The name nearest to `wrong`, None if none is; `most` bounds what it may cost."""
    end, best, least = time.perf_counter() + _PATIENCE, None, None
    if len(wrong) > _LONGEST:
        return None
    for _, name in zip(range(_MOST), names):
        if type(name) is not str or name == wrong or len(name) > _LONGEST:
            continue
        bound = (len(wrong) + len(name) + 3) // 3 if most is None else most
        if least is not None:
            bound = min(bound, least - 1)
        if 2 * abs(len(wrong) - len(name)) > bound:
            continue
        cost = _cost(wrong, name)
        if cost <= bound:
            best, least = name, cost
        if time.perf_counter() > end:
            break
    return best


def public(names, like):
    """The names that are public, or all if `like` is private itself."""
    return [name for name in names if type(name) is str and (like[:1] == "_" or name[:1] != "_")]


def _cost(one, other):
    before, row = [], [2 * at for at in range(len(other) + 1)]
    for at, letter in enumerate(one):
        older, before, row = before, row, [2 * at + 2]
        for place, another in enumerate(other):
            change = 0 if letter == another else 1 if letter.lower() == another.lower() else 2
            least = min(before[place] + change, before[place + 1] + 2, row[place] + 2)
            if at and place and one[at - 1] == another and letter == other[place - 1]:
                least = min(least, older[place - 1] + 2)
            row.append(least)
    return row[-1]
