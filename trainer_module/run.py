"""run_fn, which TFX's Trainer calls."""

from tfx.components.trainer.fn_args_utils import FnArgs

from trainer_module import inputs, model, preprocessing, training
from trainer_module.hyper_parameters import HyperParameters


def run_fn(fn_args: FnArgs) -> None:
    """Trains the classifier, or resumes a killed run, and exports it for serving."""
    training.run(
        fn_args, model.model_fn, HyperParameters, preprocessing.prepare, inputs.augment
    )
