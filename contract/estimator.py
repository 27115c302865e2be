"""The trainer module: what an Estimator brings to the pipeline, found by a dotted path.

A trainer module is a package with three modules: `run` holds `run_fn`, `preprocessing` holds
`preprocessing_fn`, and `hyper_parameters` holds `PRESETS`, frozen dataclasses by name. A field
whose metadata say `shapes_weights: False` may change without training anew. The package may
name in WEIGHT_MODULES what else, when edited, trains anew; otherwise any edit of it does.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

DEFAULT = "trainer_module"


@dataclasses.dataclass(frozen=True)
class TrainerModule:
    """What the pipeline reads of a trainer module; its code runs in the nodes alone."""

    name: str  # the dotted path of the package
    presets: Mapping[str, Any]  # the hyper-parameters by the preset's name
    weight_modules: tuple[str, ...]  # dotted paths: what shapes the weights, with its imports

    @property
    def run_module(self) -> str:
        """Returns the module that trains."""
        return f"{self.name}.run"

    @property
    def preprocessing_module(self) -> str:
        """Returns the module of the transform graph."""
        return f"{self.name}.preprocessing"

    @property
    def settings_module(self) -> str:
        """Returns the module whose values, not whose code, tell one training from another."""
        return f"{self.name}.hyper_parameters"


def load(name: str = DEFAULT) -> TrainerModule:
    """Returns the trainer module of a dotted path.

    Raises:
        ModuleNotFoundError: There is no such package, or it has no `hyper_parameters`.
        AttributeError: Its `hyper_parameters` has no PRESETS.
    """
    package = importlib.import_module(name)
    hyper_parameters = importlib.import_module(f"{name}.hyper_parameters")
    weight_modules = getattr(package, "WEIGHT_MODULES", (f"{name}.run",))
    return TrainerModule(name, hyper_parameters.PRESETS, weight_modules)


def weight_settings(hyper_parameters: Any) -> dict[str, Any]:
    """Returns the fields that the trained weights depend on, by name."""
    return {
        field.name: getattr(hyper_parameters, field.name)
        for field in dataclasses.fields(hyper_parameters)
        if field.metadata.get("shapes_weights", True)
    }
