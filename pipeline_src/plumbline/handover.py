"""Passes the studies of Snakemake's main process to the Snakemake processes that it starts on other machines.

Those processes load the Snakefile again. They must use the studies that the job was planned for, including
the fingerprints of input files: a file may have changed since then, or may not exist on the other machine.
The main process therefore writes its studies to a file below `.snakemake` and stores the path in an
environment variable, which Snakemake passes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from plumbline.spec import digest
from plumbline.storage.partial import replace_text
from plumbline.study import Configuration, Study


def variable(configuration: Configuration) -> str:
    """The name of the environment variable that holds the path of the file.

    Each configuration has its own variable, since a Snakefile may import the workflow twice.
    """
    return f"PLUMBLINE_STUDIES_{configuration.digest().upper()}"


def hand_over(configuration: Configuration, studies: Sequence[Study], folder: Path) -> None:
    """Writes the studies of a configuration to a file in `folder` and sets the environment variable.

    The file is named after the digest of its content. If it cannot be written, the variable is empty, and the
    other processes load the studies themselves.
    """
    text = json.dumps([study.canonical() for study in studies])
    file = folder / f"{digest(text)}.json"
    os.environ[variable(configuration)] = ""
    try:
        replace_text(file, text)
    except OSError:
        return
    os.environ[variable(configuration)] = str(file)


def handed_over(configuration: Configuration) -> list[Study] | None:
    """Reads the studies of a configuration that the main process wrote; None if it wrote none."""
    file = os.environ.get(variable(configuration))
    if not file or not Path(file).is_file():
        return None
    return [Study.model_validate_json(one) for one in json.loads(Path(file).read_text(encoding="utf-8"))]
