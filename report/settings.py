"""The settings of a run that a report speaks of, among all that a record keeps."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract import estimator, records


@dataclasses.dataclass(frozen=True)
class Settings:
    """Fields of PipelineConfig; a default stands for what an old record does not say."""

    preset: str = ""
    trainer_module: str = estimator.DEFAULT
    output_dir: str = "output"
    serving_dir: str = ""
    model_name: str = "cifar10"
    metadata_url: str = ""
    train_steps: int = 0
    # Of these, what an Estimator's hyper-parameters have.
    optimizer: str = ""
    learning_rate: float | None = None
    min_accuracy: float = 0.0
    max_accuracy_drop: float = 0.0

    @property
    def serving_model_dir(self) -> Path:
        """Returns the folder of the versions that the run pushes to."""
        return Path(self.serving_dir or Path(self.output_dir) / "serving") / self.model_name


def read(config: Mapping[str, Any]) -> Settings:
    """Returns the settings among the fields of a config that a record keeps.

    Raises:
        ValueError: A field holds a value of another type.
    """
    return records.from_fields(Settings, config)
