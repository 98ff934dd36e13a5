"""Studies as Snakemake's main process knows them, for the Snakemake processes that it starts on other machines.

These load the Snakefile again. They must see the studies that the job was planned for, fingerprints of files included: a file may
have changed since, or may not be there at all. The main process writes its studies to a file below `.snakemake`, and names that
in a variable of the environment, which Snakemake passes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from plumbline.spec import digest
from plumbline.study import Configuration, Study


def variable(configuration: Configuration) -> str:
    """The variable that names the file: one of each configuration, since a Snakefile may import the workflow twice."""
    return f"PLUMBLINE_STUDIES_{configuration.digest().upper()}"


def hand_over(configuration: Configuration, studies: Sequence[Study], folder: Path) -> None:
    """Writes the studies of a configuration to a file in `folder`, named by its content, and sets the variable.

    Where nothing can be written, the variable is empty, and other processes load the studies themselves.
    """
    text = json.dumps([study.canonical() for study in studies])
    file = folder / f"{digest(text)}.json"
    os.environ[variable(configuration)] = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, file)
    except OSError:
        return
    os.environ[variable(configuration)] = str(file)


def handed_over(configuration: Configuration) -> list[Study] | None:
    """The studies of a configuration as the main process wrote them; None where it did not."""
    file = os.environ.get(variable(configuration))
    if not file or not Path(file).is_file():
        return None
    return [Study.model_validate_json(one) for one in json.loads(Path(file).read_text(encoding="utf-8"))]
