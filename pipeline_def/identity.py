"""What identifies a training: its fingerprint, where it starts and the folders of its own."""

import hashlib
import json
from pathlib import Path

from contract import estimator, training_folder, warm_start
from contract.warm_start import WarmStart
from pipeline_def.batches import Batches
from pipeline_def.code_version import algorithm_version
from pipeline_def.config import PipelineConfig
from serving.baseline import Candidate


def study_dir(config: PipelineConfig, batches: Batches) -> Path:
    """Returns the folder of a search, from which it continues if killed or extended."""
    fingerprint = training_fingerprint(config, batches)
    return Path(config.output_dir) / "tuning" / training_folder.search_of(fingerprint)


def serving_model_dir(config: PipelineConfig) -> Path:
    """Returns the folder of the pushed versions, which TensorFlow Serving watches."""
    root = Path(config.serving_dir or Path(config.output_dir) / "serving")
    return root / config.model_name


def training_fingerprint(config: PipelineConfig, batches: Batches) -> str:
    """Returns the identity of a training: a hash of everything that shapes the weights.

    This includes the data and their conversion to examples, the network with its inputs, and
    the hyper-parameters or their search, but not how training is run, logged and exported.
    """
    trainer_module = estimator.load(config.trainer_module)
    facts = {
        "data": batches.fingerprint,
        "code": algorithm_version(
            *trainer_module.weight_modules,
            "data_sources.example_format",
            without=trainer_module.settings_module,
        ),
        "data_options": config.data_options.of_an_image,
        "hyper_parameters": estimator.weight_settings(config.hyper_parameters),
        "search": [config.tuned, config.tuning_held_out] if config.tuned else [],
    }
    if start := start_of(config, batches):
        facts["start"] = [start.weights or start.version, start.learning_rate]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return training_folder.with_trials(digest, config.tuning_trials) if config.tuned else digest


def start_of(config: PipelineConfig, batches: Batches) -> WarmStart | None:
    """Returns the weights that training starts from; None for random ones."""
    start = batches.start or unresolved_start(config, serving_model_dir(config))
    return None if start.version == warm_start.NONE else start


def unresolved_start(config: PipelineConfig, model_dir: Path) -> WarmStart:
    """Returns the start of a training as the settings say, before anyone looks for it."""
    return WarmStart(
        str(model_dir),
        config.warm_start,
        config.warm_start_learning_rate,
        is_required=config.warm_start != warm_start.LATEST,
    )


def candidate(config: PipelineConfig, batches: Batches) -> Candidate:
    """Returns what is known about a candidate before its training."""
    return Candidate(
        training_fingerprint(config, batches), batches.fingerprint, batches.eval_fingerprint
    )
