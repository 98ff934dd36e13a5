"""Explanations of kinds for a terminal: the rooms, the kinds of a room, and the keys of a kind."""

from __future__ import annotations

import textwrap

from plumbline.reporting.keys import ROOMS, key_rows, summary
from plumbline.spec import Kind, did_you_mean, kinds

WIDTH = 100


def describe_kinds(room: str | None = None, kind: str | None = None) -> str:
    """Describes the kinds that a study can use, as text for a terminal.

    Args:
        room: a room such as `constraints`; None lists all rooms with the names of their kinds.
        kind: a kind of the room; None lists all kinds of the room with their descriptions.

    Raises:
        ValueError: there is no such room or kind.
    """
    if room is None:
        return "\n".join(_wrapped(f"{name:15s}", ", ".join(kinds(base))) for name, (base, _) in ROOMS.items())
    if room not in ROOMS:
        raise ValueError(
            f"there is no room {room!r}{did_you_mean(room, list(ROOMS))}; available: {', '.join(ROOMS)}"
        )
    base, place = ROOMS[room]
    known = kinds(base)
    if kind is None:
        lines = [_wrapped(f"{name:24s}", summary(spec)) for name, spec in known.items()]
        return "\n".join([f"Kinds of {room}, for {place}:", *lines])
    if kind not in known:
        raise ValueError(
            f"{room} has no kind {kind!r}{did_you_mean(kind, list(known))}; available: {', '.join(known)}"
        )
    return _explained(kind, known[kind])


def _explained(kind: str, spec: type[Kind]) -> str:
    lines = [textwrap.fill(f"{kind}: {summary(spec)}", WIDTH), ""]
    for name, of_type, default, unit, meaning in key_rows(spec):
        shown = " (required)" if default == "required" else f" = {default}"
        lines.append(f"  {name}: {of_type}{shown}{f' [{unit}]' if unit else ''}".replace("`", ""))
        lines.append(textwrap.fill(meaning, WIDTH, initial_indent="      ", subsequent_indent="      "))
    return "\n".join(lines)


def _wrapped(head: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=head + " ", subsequent_indent=" " * (len(head) + 1))
