"""The parameters of a run on Kubeflow, and the config they lead to."""

import dataclasses
from collections.abc import Sequence

from contract import estimator
from data_sources import dataset
from data_sources.batch_files import OFFICIAL, fingerprint_of
from pipeline_def.batches import Batches
from pipeline_def.config import PipelineConfig, apply_settings, find_preset

SAMPLE = "sample"


@dataclasses.dataclass(frozen=True)
class RunParameters:
    """The parameters of the compiled pipeline, in flow order.

    Raises:
        ValueError: A value is outside its range; the message names the parameter.
    """

    preset: str = ""  # of the trainer module; empty: quick, or its first
    data: str = SAMPLE  # the bundled sample, or a folder of batch files in the containers
    data_fingerprint: str = ""  # of the batches; empty: the sample's, or official CIFAR-10's
    train_steps: int = 0  # 0: as in the preset
    push_destination: str = "/mnt/cifar10/serving"  # the serving root, a mounted folder

    def __post_init__(self) -> None:
        """Checks every value."""
        if self.train_steps < 0:
            raise ValueError(
                f"train_steps must be positive, or 0 for the preset's, got {self.train_steps}."
            )
        for name in ("data", "push_destination"):
            folder = getattr(self, name)
            if not folder.startswith("/") and not (name == "data" and folder == SAMPLE):
                raise ValueError(
                    f"{name} must be a folder mounted into the containers, such as "
                    f"/mnt/cifar10/{name}, got {folder!r}. The images contain no object-store "
                    "library: mount a bucket, or copy it to the volume."
                )


@dataclasses.dataclass(frozen=True)
class DriftParameters:
    """The parameters of the compiled pipeline that compares logged requests."""

    logs: str  # folders or patterns in the containers, with spaces between them
    push_destination: str  # the serving root, a mounted folder
    version: str = ""  # whose requests; empty: those of the version that is served


def config_of(
    parameters: RunParameters,
    settings: Sequence[str],
    trainer_module: str = estimator.DEFAULT,
) -> PipelineConfig:
    """Returns the config of a run.

    Args:
        parameters: The parameters of the run.
        settings: `field=value` changes to the preset, fixed when the pipeline was compiled.
        trainer_module: The dotted path of the Estimator, fixed at the same time.

    Raises:
        ValueError: There is no such preset, or a value is outside its range.
    """
    if parameters.train_steps:
        settings = [*settings, f"train_steps={parameters.train_steps}"]
    config = apply_settings(find_preset(parameters.preset, trainer_module), settings)
    return dataclasses.replace(
        config, data=parameters.data, serving_dir=parameters.push_destination
    )


def batches_of(parameters: RunParameters) -> Batches:
    """Returns the batches that a run expects, without looking for any but the sample."""
    if parameters.data == SAMPLE:
        sample = dataset.read_sample()
        fingerprint = parameters.data_fingerprint or sample.fingerprint
        return Batches(
            str(sample.directory), fingerprint, sample.eval_fingerprint, sample.checksums
        )
    fingerprint = parameters.data_fingerprint or fingerprint_of(OFFICIAL.checksums)
    return Batches(parameters.data, fingerprint)
