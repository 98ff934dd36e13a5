"""Study files: reading YAML, extending other studies, and the overrides of each scale.

Error messages use YAML's terms (list, mapping, number) and the path of the key in the file.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from plumbline.spec import did_you_mean
from plumbline.workflow_files import library_studies, study_file

Scale = Literal["smoke", "laptop", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)

LONGEST = 60
"""Largest number of characters of a value that a message shows."""


class StudyError(ValueError):
    """A study or configuration is invalid. The message names each key at fault and what is allowed."""


class _UniqueKeys(yaml.SafeLoader):
    """A safe YAML loader that refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(name, str | int) or isinstance(name, bool):
                raise StudyError(f"line {line}: the key {_short(name)} is not text: put it in quotes.")
            if name in seen:
                raise StudyError(
                    f"line {line}: the key {name!r} repeats the one in line {seen[name]}: keep one of them."
                )
            seen[name] = line
        return super().construct_mapping(node, deep=deep)


def read_study_file(path: Path) -> dict[str, Any]:
    """Reads the values of a study's file, merged with those of the study that it extends, if any.

    Raises:
        StudyError: the file is missing, is not YAML, or extends itself. The message begins with the file's
            path.
    """
    try:
        return _read(path, ())
    except RecursionError:
        raise StudyError(
            f"{path}: its mappings and lists are nested too deeply, or contain themselves."
        ) from None


def _read(path: Path, extending: tuple[str, ...]) -> dict[str, Any]:
    values = read_yaml(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    if not isinstance(parent, str):
        raise StudyError(f"{path}: extends: expected the name of a study, found {_what(parent)}.")
    chain = (*extending, path.stem)
    if parent in chain:
        raise StudyError(f"{path}: extends: {' -> '.join([*chain, parent])} is circular.")
    base = _read(study_file(parent, path.parent), chain)
    base.pop("name", None)
    # The scales of the extended study must not restore keys that this study removes.
    base["scales"] = {scale: _pruned(over, values) for scale, over in _scales(path, base).items()}
    return merged(base, values)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads the mapping in a YAML file.

    Raises:
        StudyError: the file is missing, is not YAML, or contains something else. The message begins with its
            path.
    """
    if not path.is_file():
        folders = (path.parent, library_studies())
        present = sorted(
            {p.stem for folder in folders for p in folder.glob("*.yaml")}
            | {name for folder in folders for p in folder.glob("*/*.yaml") for name in _names(p)}
        )
        raise StudyError(
            f"{path}: there is no such study{did_you_mean(path.stem, present)}; available: {present}."
        )
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # a loader of safe YAML
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        raise StudyError(
            f"{path}: this is not UTF-8 text (byte {error.start}): save the file in UTF-8."
        ) from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}).") from None
    except yaml.YAMLError as error:
        raise StudyError(f"{path}: this is not YAML: {' '.join(str(error).split())}.") from None
    except ValueError as error:  # such as a date that no calendar has
        raise StudyError(f"{path}: a value cannot be read ({error}): put it in quotes.") from None
    if not isinstance(values, dict):
        raise StudyError(f"{path}: expected a mapping of keys, found {_what(values)}.")
    return values


def _names(path: Path) -> tuple[str, str]:
    """The name of the folder of a study, and that of the study within it."""
    return path.parent.name, f"{path.parent.name}/{path.stem}"


def _scales(path: Path, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The overrides by scale.

    Raises:
        StudyError: a scale is unknown, or a value is not a mapping.
    """
    overrides = values.get("scales") or {}
    if not isinstance(overrides, dict):
        raise StudyError(f"{path}: scales: expected a mapping of scales, found {_what(overrides)}.")
    for scale, over in overrides.items():
        if scale not in SCALES:
            raise StudyError(f"{path}: scales.{scale}: unknown scale; allowed: {', '.join(SCALES)}.")
        if over is not None and not isinstance(over, dict):
            raise StudyError(f"{path}: scales.{scale}: expected a mapping of keys, found {_what(over)}.")
    return {scale: over or {} for scale, over in overrides.items()}


def at_scale(path: Path, values: dict[str, Any], scale: Scale) -> dict[str, Any]:
    """The values of a study at a scale, with the name of its file as the study's name.

    Raises:
        StudyError: the scales are invalid, or the study's name differs from that of the file.
    """
    own = {name: value for name, value in values.items() if name != "scales"}
    try:
        result = merged(own, _scales(path, values).get(scale, {}))
    except RecursionError:
        raise StudyError(
            f"{path}: its mappings and lists are nested too deeply, or contain themselves."
        ) from None
    result.setdefault("name", path.stem)
    if result["name"] != path.stem:
        raise StudyError(
            f"{path}: name: must be that of the file, {path.stem!r}, found {_short(result['name'])}."
        )
    return result


def _pruned(values: Any, removing: Any) -> Any:
    """`values` without the keys that are null in `removing`, at any depth."""
    if not isinstance(values, dict) or not isinstance(removing, dict):
        return values
    gone = {name for name, value in removing.items() if value is None}
    return {name: _pruned(value, removing.get(name)) for name, value in values.items() if name not in gone}


def merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Merges `override` into `base`.

    Mappings are merged key by key, unless the override has another `kind`: then it replaces the mapping.
    Lists and values are replaced. A null removes the key.
    """
    result = copy.deepcopy(base)
    for name, value in override.items():
        current = result.get(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(current, dict):
            same = "kind" not in value or value["kind"] == current.get("kind")
            result[name] = merged(current, value) if same else copy.deepcopy(value)
        else:
            result[name] = copy.deepcopy(value)
    return result


# Pydantic's error types, and the expected value in YAML's terms.
EXPECTED = {
    "tuple_type": "a list", "list_type": "a list", "set_type": "a list",
    "dict_type": "a mapping of keys", "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "string_type": "text",
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "float_type": "a number", "float_parsing": "a number", "finite_number": "a finite number",
    "bool_type": "true or false", "bool_parsing": "true or false",
    "none_required": "null",
    "string_pattern_mismatch": "lower-case letters, digits and underscores, a letter first",
}  # fmt: skip


def described(faults: list[Any], values: Any) -> Iterator[str]:
    """One sentence per error that pydantic found in the values of a file, starting with the key's path."""
    alternatives: dict[str, tuple[list[str], Any]] = {}
    for fault in faults:
        path = key_path(fault, values)
        message = re.sub(r"^Value error, ", "", fault["msg"])
        if fault["type"] == "missing":
            yield f"{path}: this key is required"
        elif not path:
            yield from message.splitlines()
        elif fault["type"] in EXPECTED:
            # A key that accepts several types has one error per type. One sentence names them all.
            alternatives.setdefault(path, ([], fault.get("input")))[0].append(EXPECTED[fault["type"]])
        else:
            yield f"{path}: {_sentence(fault, message)}"
    for path, (expected, found) in alternatives.items():
        yield f"{path}: expected {' or '.join(dict.fromkeys(expected))}, found {_what(found)}"


def _sentence(fault: Any, message: str) -> str:
    context, found = fault.get("ctx", {}), fault.get("input")
    shown = "" if "found" in message else f", found {_what(found)}"
    bounds = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    words = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
    if fault["type"] in bounds:
        bound = bounds[fault["type"]]
        return f"must be {words[bound]} {context[bound]}{shown}"
    if fault["type"] == "literal_error":
        return f"expected one of {context['expected']}{shown}"
    if fault["type"] in ("too_short", "string_too_short"):
        length = context.get("actual_length", len(found or ""))
        return f"expected at least {context['min_length']}, found {length}"
    if fault["type"] in ("too_long", "string_too_long"):
        length = context.get("actual_length", len(found or ""))
        return f"expected at most {context['max_length']}, found {length}"
    scalar = isinstance(found, str | int | float | bool)
    return f"{message[:1].lower()}{message[1:].rstrip('.')}{shown if scalar else ''}"


def key_path(fault: Any, values: Any) -> str:
    """The path of a key in the file: names separated by dots, list indices in brackets."""
    location = list(fault["loc"])
    if fault["type"] in ("unknown_key", "unusable_file"):
        location.append(fault["ctx"]["key"])
    path, here = "", values
    for i, part in enumerate(location):
        last = i == len(location) - 1
        if isinstance(here, list | tuple) and isinstance(part, int):
            path += f"[{part}]"
            here = here[part] if part < len(here) else None
        elif isinstance(here, dict) and (part in here or (last and isinstance(part, str))):
            path += f".{part}" if path else str(part)
            here = here.get(part)
        # Any other part names a type that pydantic tried.
    return path


def _what(value: Any) -> str:
    """Describes a value in YAML's terms."""
    if isinstance(value, dict):
        return f"a mapping of {', '.join(map(str, value))[:LONGEST]}" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _short(value)


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | type(None)) else repr(str(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]}...{text[-1]}"
