"""generate: one part of a dataset."""

from __future__ import annotations

import json
import time
from pathlib import Path

from plumbline.datasets import DatasetSpec
from plumbline.spec import kinds
from plumbline.store import provenance, write_store


def generate(spec: str, *, part: int, output: Path) -> None:
    """Draws part `part` of the dataset `spec` (JSON) into the store `output`."""
    started = time.perf_counter()
    values = json.loads(spec)
    dataset = kinds(DatasetSpec)[values["kind"]].model_validate(values)
    write_store(dataset.draw_part(part), output, provenance(spec, started=started))
