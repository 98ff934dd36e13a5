"""Capabilities: what one part of a study can do for another. Each is a `Protocol` that a package defines.

A spec names the Protocols that its object satisfies (`provides`) and those that it requires of other objects
(`depends_on`, `requires`, `requires_of_model`). A study is checked by these names before anything is built;
`require` checks the object itself where it is handed over. The docstring of a Protocol begins with a noun
phrase, such as "A model that has a denoiser.": errors quote it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar, cast

from typing_extensions import get_protocol_members

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")


def is_provided(required: type, provided: Iterable[type]) -> bool:
    """Whether a Protocol, or one that extends it, is among those provided."""
    return any(required in getattr(one, "__mro__", ()) for one in provided)


def phrase(capability: type) -> str:
    """The name of a Protocol and what it is: "`Denoising` (a model that has a denoiser)"."""
    sentence = (capability.__doc__ or "no description").strip().splitlines()[0].removesuffix(".")
    return f"`{capability.__name__}` ({sentence[0].lower()}{sentence[1:]})"


def listed(capabilities: Iterable[type]) -> str:
    """The names of several Protocols, such as "`Counting` and `Labelled`"."""
    return " and ".join(f"`{getattr(one, '__name__', repr(one))}`" for one in capabilities) or "no Protocol"


def lacking(value: object, capability: type) -> list[str]:
    """The members of a Protocol that an object does not have, by name.

    `isinstance` says the same up to Python 3.11; later versions do not see the submodules of an `nn.Module`.
    Properties that the class of the object defines are not evaluated here.
    """
    members = sorted(get_protocol_members(capability))
    return [name for name in members if not (hasattr(type(value), name) or hasattr(value, name))]


def require(value: object, capability: TypeForm[T], name: str) -> T:
    """The object itself, once it is known to satisfy a Protocol.

    Args:
        value: the object.
        capability: the Protocol.
        name: the name of the object in the study.

    Raises:
        TypeError: the object lacks members of the Protocol; the message lists them.
    """
    protocol = cast("type", capability)
    if missing := lacking(value, protocol):
        raise TypeError(
            f"{name!r} must be {phrase(protocol)}, and {type(value).__name__} has no {', '.join(missing)}."
        )
    return cast("T", value)
