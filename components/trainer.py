"""The function that TFX's Trainer calls: the Estimator's run_fn, then a check of its output."""

import dataclasses
import importlib
import logging
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import filelock
from tfx.components.trainer.fn_args_utils import FnArgs

from contract import (
    cluster,
    estimator,
    example_files,
    exported_model,
    image_set,
    records,
    training_folder,
    training_record,
)
from contract.warm_start import KEY, WarmStart
from serving import warm_start

log = logging.getLogger("cifar.train")

LOCK_FILE = ".lock"  # in the checkpoint folder
RUN_FN = f"{__name__}.run_fn"


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports with the `run_fn` of the trainer module that `custom_config` names.

    Raises:
        ContractError: Its output breaks the contract with later stages.
        Exception: Whatever the trainer module raises.
    """
    found = (fn_args.hyperparameters or {}).get("values", {})
    fn_args.custom_config = with_found_start(with_found_values(fn_args.custom_config, found))
    trainer_module = estimator.load(fn_args.custom_config["trainer_module"])
    run = importlib.import_module(trainer_module.run_module).run_fn
    checkpoint_dir = Path(fn_args.custom_config["checkpoint_dir"])
    with sole_user(checkpoint_dir / LOCK_FILE) if cluster.is_chief() else nullcontext():
        run(fn_args)
    if cluster.is_chief():
        if found:
            record = training_record.read(fn_args.model_run_dir)
            record = dataclasses.replace(record, found=found)
            training_record.write(fn_args.model_run_dir, record)
        images = image_set.read(posixpath.dirname(fn_args.schema_path))
        exported_model.check(
            exported_model.Training(
                trainer_module=trainer_module.name,
                model_dir=fn_args.serving_model_dir,
                model_run_dir=fn_args.model_run_dir,
                eval_files=example_files.find(fn_args.eval_files),
                num_classes=images.num_classes,
                image_shape=images.image_shape,
            )
        )


@contextmanager
def sole_user(lock_file: Path) -> Iterator[None]:
    """Waits until no other run holds a lock, then holds it.

    Equal runs train in one folder; the second finds the training done. The operating system
    releases the lock of a killed process.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        log.warning(
            "Another run is training: it holds %s; waiting for it to finish.", lock_file
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def with_found_values(
    custom_config: Mapping[str, Any], found: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the config with the hyper-parameters that a Tuner found, if any."""
    if not found:
        return dict(custom_config)
    return {
        **custom_config,
        "hyper_parameters": {**custom_config["hyper_parameters"], **found},
        "checkpoint_dir": training_folder.with_values(custom_config["checkpoint_dir"], found),
    }


def with_found_start(custom_config: dict[str, Any]) -> dict[str, Any]:
    """Returns the config with the folder of the version that training starts from, if any."""
    if KEY not in custom_config:
        return custom_config
    start = records.from_fields(WarmStart, custom_config[KEY])
    try:
        found = warm_start.find(Path(start.model_dir), start.version)
    except (FileNotFoundError, ValueError) as error:
        start = dataclasses.replace(start, fault=str(error))
    else:
        start = (
            dataclasses.replace(
                start,
                version=str(found.number),
                path=str(found.path),
                class_names=warm_start.classes_of(found),
            )
            if found
            else dataclasses.replace(start, fault="nothing is served yet")
        )
    return {**custom_config, KEY: dataclasses.asdict(start)}
