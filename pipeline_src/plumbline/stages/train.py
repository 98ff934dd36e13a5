"""train: trains one model with one seed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import nn

from plumbline.models import ModelSpec, Preparing, TakesOverWeights
from plumbline.models._spaces import batch_of
from plumbline.plan import CARD, CHECKPOINT, CHECKPOINTS, WEIGHTS
from plumbline.spec import of_kind
from plumbline.stages.trained import (
    build_model,
    example_of,
    in_blocks,
    is_saved,
    load_models,
    load_weights,
    require_fit,
    save_model,
)
from plumbline.storage.lock import NAME as LOCK
from plumbline.storage.lock import only_writer
from plumbline.storage.partial import partial_of, remove_left_overs
from plumbline.storage.split import StoredSplit
from plumbline.storage.store import flush, open_parts
from plumbline.training._nodes import is_started_by_training, is_task, run_as_step
from plumbline.training.feed import InMemory
from plumbline.training.loop import forget, is_first_process
from plumbline.training.loop import train as run_training
from plumbline.training.streamed import Streamed, feed_of

logger = logging.getLogger("plumbline.train")


def train(
    spec: str,
    *,
    seed: int,
    dataset: Sequence[Path],
    output: Path,
    models: Sequence[Path] = (),
    initialise: Path | None = None,
    arguments: Sequence[str] = (),
) -> None:
    """Trains a model on the train split.

    Args:
        spec: the slice as JSON: the model, the constraints that it is built with, and the slices of the
            models that it depends on.
        seed: seed of weights, batches and noise.
        dataset: the parts of the dataset.
        output: folder for weights.pt, training_log.csv, model.json, and a folder of numbered checkpoints.
            Each checkpoint contains the same files except the log.
        models: folders of the trained models that it is built with, in the order of its slice.
        initialise: folder of a trained model with the same weight shapes to start from.
        arguments: the arguments of the command that calls this function, with which the tasks of a training
            over several machines are started.

    Raises:
        CorruptStoreError: a part or a model cannot be read.
        NodesError: the training is one over several machines, and this is no job of SLURM.
        WeightsError: the weights to start from do not fit the model.
    """
    begun = time.time()
    # The processes that a training starts run this too. The process that starts them holds the lock.
    with nullcontext() if is_started_by_training() else only_writer(output):
        training = of_kind(ModelSpec, json.loads(spec)["model"]).training
        seed += training.seed_offset
        depends_on = "".join([spec, str(seed), *(str(path) for path in (*dataset, *models)), str(initialise)])
        identity = hashlib.sha256(depends_on.encode()).hexdigest()
        if not is_started_by_training() and is_saved(output, identity, since=begun):
            logger.info("%s: another process has finished this training; its result is kept.", output)
        elif training.nodes > 1 and training.steps and not is_task():
            run_as_step(training, arguments)
        else:
            _train(spec, seed, identity, dataset, output, models, initialise)


def _train(
    spec: str,
    seed: int,
    identity: str,
    dataset: Sequence[Path],
    output: Path,
    models: Sequence[Path],
    initialise: Path | None,
) -> None:
    opened = open_parts(dataset)
    values = json.loads(spec)
    own = of_kind(ModelSpec, values["model"])
    training = own.training

    def samples_of(split: str, samples: int | None = None) -> InMemory | Streamed:
        if own.dataset is None:
            return feed_of(StoredSplit(dataset, split, samples), values["memory"], split)
        drawn = own.dataset.draw_matching(split, opened["state"].shape[1:], "dataset")
        return InMemory(batch_of(drawn.isel(sample=slice(0, samples))))

    feed = samples_of("train", training.samples)
    validation = samples_of("validation") if training.validate_every else None
    torch.manual_seed(seed)
    below = load_models([*values["models"], *values["constraint_models"]], models, example_of(opened))
    model = build_model(values, opened, below)
    started = time.perf_counter()
    prepare(model, feed)
    spent = time.perf_counter() - started
    if initialise is not None:
        _start_from(model, initialise)
    # Named after the training, so that another one resumed in this folder does not use its checkpoints.
    checkpoints = output / f"checkpoints-{identity[:10]}.partial"
    checkpoints.mkdir(parents=True, exist_ok=True)
    trained = run_training(
        model,
        feed,
        training,
        validation=validation,
        seed=seed,
        folder=output,
        identity=identity,
        keep=partial(_keep, checkpoints, spec, identity),
        spent=spent,
    )
    if is_first_process():
        save_model(trained, output, spec, identity)
        _put_in_place(checkpoints, output / CHECKPOINTS)
        for name in (WEIGHTS, CARD, CHECKPOINTS):
            remove_left_overs(output / name)


def forget_trainings(folders: Iterable[Path]) -> None:
    """Deletes the saved states of trainings whose models are in use, and the checkpoints that belong to them.

    Snakemake may be killed while a job runs on, and then not know that the job has finished. It would delete
    the result and start the training again, which goes on from its last state. A job that uses a model runs
    after Snakemake has noted that its training is complete.

    Args:
        folders: the folders of the trained models.
    """
    for folder in folders:
        if (folder / LOCK).exists():
            continue  # the training runs again
        try:
            forget(folder)
            for left in folder.glob("checkpoints-*.partial"):
                shutil.rmtree(left, ignore_errors=True)
        except PermissionError:
            logger.info("%s belongs to somebody else: its saved state is left there.", folder)


def prepare(model: nn.Module, feed: InMemory | Streamed) -> None:
    """Prepares a model from the samples of a training, which are not loaded as a whole if they are streamed.

    Raises:
        NotInBlocksError: they are streamed, and the model needs all of them at once.
    """
    if isinstance(feed, InMemory):
        cast("Preparing", model).prepare(feed.data)
    else:
        in_blocks(model).prepare_in_blocks(feed.blocks())


def _start_from(model: nn.Module, folder: Path) -> None:
    """Loads the weights of a trained model into this one."""
    weights = load_weights(folder)
    if isinstance(model, TakesOverWeights):
        model.start_from(weights)
    else:
        require_fit(weights, model, folder / WEIGHTS)
        model.load_state_dict(weights)


def _put_in_place(partial_folder: Path, folder: Path) -> None:
    """Replaces a folder by hard links to the files of another one, or by copies if links are not possible."""
    copy = partial_of(folder)
    shutil.rmtree(copy, ignore_errors=True)
    try:
        shutil.copytree(partial_folder, copy, copy_function=os.link)
    except OSError:  # a file system without links
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(partial_folder, copy)
    flush(copy)
    shutil.rmtree(folder, ignore_errors=True)
    copy.rename(folder)


def _keep(folder: Path, spec: str, identity: str, model: nn.Module, step: int) -> None:
    own = folder / CHECKPOINT.format(step=step)
    own.mkdir(exist_ok=True)
    save_model(model, own, spec, identity)
