"""Studies with random changes to their YAML either load or raise a StudyError, and no other error.

`python tests/test_study_fuzz.py 1000` makes that many changes and counts the outcomes.
"""

import random
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import pytest
import yaml

from plumbline.study import StudyError, load_study

STUDIES = sorted((Path(__file__).parents[1] / "config" / "studies").rglob("*.yaml"))
STRANGE = (
    None, True, False, 0, 1, -1, 2, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", " ", "x",
    "null", "é\u202e{}",
    "a" * 300, "../../etc", [], [[]], [0], [None], ["x", 1], {}, {"kind": "x"}, {"kind": 1},
    {"kind": ["mlp"]}, {"a": {"b": []}},
    {"kind": "mlp"}, {"kind": "heun"}, {"kind": "burgers"}, {"kind": "stored", "path": "."}, {1: 2},
    "2001-01-01", b"bytes",
)  # fmt: skip
CHARACTERS = "{}[]:,-#&*!|>'\"%@`\t\n\0\ufeffé01a "


def places(value, path=()):
    """The paths of all entries in a tree of mappings and lists."""
    yield path
    for key, part in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(part, (*path, key))


def at(values, path):
    for key in path:
        values = values[key]
    return values


def changed_tree(values, generator):
    """A tree with one value replaced, removed, renamed, duplicated, or moved from elsewhere."""
    *above, last = generator.choice([path for path in places(values) if path])
    parent, other = at(values, above), at(values, generator.choice(list(places(values))))
    what = generator.choice(["replace", "remove", "rename", "move", "wrap"])
    if what == "remove":
        del parent[last]
    elif what == "rename" and isinstance(parent, dict):
        parent[generator.choice([f"{last}x", f"X {last}", str(last)[:-1], 7, "kind"])] = parent.pop(last)
    elif what == "move":
        parent[last] = yaml.safe_load(yaml.safe_dump(other))
    elif what == "wrap":
        parent[last] = generator.choice([[parent[last]], {"kind": parent[last]}, {str(last): parent[last]}])
    else:
        parent[last] = generator.choice(STRANGE)
    return values


def changed_text(text, generator):
    """A text with characters inserted, removed, or a line duplicated."""
    i = generator.randrange(len(text))
    what = generator.choice(["insert", "delete", "line"])
    if what == "insert":
        return text[:i] + generator.choice(CHARACTERS) * generator.choice([1, 1, 2]) + text[i:]
    if what == "delete":
        return text[:i] + text[i + generator.randrange(1, 9) :]
    lines = text.splitlines(keepends=True)
    lines.insert(generator.randrange(len(lines)), generator.choice(lines))
    return "".join(lines)


def mutated(path, folder, generator):
    """A study file with one to three changes, in a folder with all studies that it may extend."""
    text = path.read_text()
    for _ in range(generator.randrange(1, 4)):
        try:
            values = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):
            break
        if generator.random() < 0.7 and isinstance(values, dict) and values:
            text = yaml.safe_dump(changed_tree(values, generator))
        elif text:
            text = changed_text(text, generator)
    (folder / path.name).write_text(text, errors="surrogateescape")
    return folder / path.name


def outcome(path, folder, generator):
    """The outcome for a changed study, `loads` or `refused`; raises any error other than StudyError."""
    for study in STUDIES:
        (folder / study.name).write_text(study.read_text())
    file = mutated(path, folder, generator)
    try:
        load_study(file, generator.choice(["smoke", "laptop", "paper"]))
    except StudyError:
        return "refused"
    return "loads"


@pytest.mark.parametrize("number", range(60))
def test_a_changed_study_loads_or_is_refused(number, tmp_path):
    outcome(STUDIES[number % len(STUDIES)], tmp_path, random.Random(number))


if __name__ == "__main__":
    found: Counter[str] = Counter()
    for number in range(int(sys.argv[1])):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                found[
                    outcome(STUDIES[number % len(STUDIES)], Path(scratch), random.Random(10_000 + number))
                ] += 1
            except Exception:
                found["traceback"] += 1
                traceback.print_exc()
    print(dict(found))
