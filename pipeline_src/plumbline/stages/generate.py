"""generate: writes one part of a dataset, block by block."""

from __future__ import annotations

import json
import time
from pathlib import Path

from plumbline.datasets import DatasetSpec
from plumbline.spec import of_kind
from plumbline.storage.blocks import write_in_blocks
from plumbline.storage.store import provenance


def generate(spec: str, *, part: int, output: Path) -> None:
    """Generates one part of a dataset.

    Args:
        spec: the dataset as JSON.
        part: index of the part.
        output: the store to write.
    """
    started = time.perf_counter()
    dataset = of_kind(DatasetSpec, json.loads(spec))
    count = len(dataset.indices_of(part))
    blocks = dataset.draw_part_in_blocks(part)
    write_in_blocks(blocks, count, output, lambda: provenance(spec, started=started))
