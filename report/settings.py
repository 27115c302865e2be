"""The settings of a run that a report uses."""

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract import estimator, records


@dataclasses.dataclass(frozen=True)
class Settings:
    """Fields of PipelineConfig, with defaults for old records."""

    preset: str = ""
    trainer_module: str = estimator.DEFAULT
    output_dir: str = "output"
    serving_dir: str = ""
    model_name: str = "cifar10"
    metadata_url: str = ""
    train_steps: int = 0
    # Hyper-parameters, which an Estimator may lack.
    optimizer: str = ""
    learning_rate: float | None = None
    warm_start_learning_rate: float = 1.0
    min_accuracy: float = 0.0
    max_accuracy_drop: float = 0.0

    @property
    def serving_model_dir(self) -> Path:
        """Returns the folder of the versions that the run pushes to."""
        return Path(self.serving_dir or Path(self.output_dir) / "serving") / self.model_name

    @property
    def model_option(self) -> str:
        """Returns the option that names the model to `cifar`; empty for the default one."""
        return "" if self.model_name == Settings.model_name else f" --model {self.model_name}"

    def serve_options(self, output_option: str) -> str:
        """Returns the options with which `cifar serve` finds the versions.

        Args:
            output_option: The option for the output folder, for versions that are below it.
        """
        if self.serving_dir:
            folder = shlex.quote(str(self.serving_model_dir))
            return f"{self.model_option} --model_base_path={folder}"
        return self.model_option + output_option


def read(config: Mapping[str, Any]) -> Settings:
    """Returns the settings from the config in a record.

    Raises:
        ValueError: A field has a value of the wrong type.
    """
    return records.from_fields(Settings, config)
