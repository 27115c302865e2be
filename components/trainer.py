"""The function that TFX's Trainer calls: the Estimator's run_fn, then a check of its output."""

import importlib
import posixpath

from tfx.components.trainer.fn_args_utils import FnArgs

from contract import cluster, estimator, example_files, exported_model, image_set

RUN_FN = f"{__name__}.run_fn"


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports with the `run_fn` of the trainer module that `custom_config` names.

    Raises:
        ContractError: Its output breaks the contract with later stages.
        Exception: Whatever the trainer module raises.
    """
    trainer_module = estimator.load(fn_args.custom_config["trainer_module"])
    importlib.import_module(trainer_module.run_module).run_fn(fn_args)
    if cluster.is_chief():
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
