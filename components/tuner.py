"""The hyper-parameter search as a node; the Trainer reads its best values.

The stock Tuner's executor needs a KerasTuner, and restarts from nothing after a kill. This one
writes the same files (tfx/components/tuner/executor.py), plus a page and a preset.
"""

import json
import logging
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.trainer import fn_args_utils
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.utils import import_utils, json_utils

from contract import estimator, records, search_space
from contract.files import BEST_VALUES_FILE, SEARCH_FILE, SEARCH_PAGE_FILE, TRIALS_FILE
from contract.search_record import SearchRecord

log = logging.getLogger("cifar.tuner")


class Executor(base_executor.BaseExecutor):
    """Searches, and writes the results."""

    def Do(  # noqa: N802 - the name TFX calls
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the best values, and the result of every trial.

        Raises:
            RuntimeError: No trial finished.
        """
        # Optuna and Matplotlib, which no other node needs.
        from components import search
        from report import search as search_page

        fn_args = fn_args_utils.get_common_fn_args(input_dict, exec_properties)
        config = fn_args.custom_config
        trainer_module = estimator.load(config["trainer_module"])
        hyper_parameters = config["hyper_parameters"]
        kind = type(next(iter(trainer_module.presets.values())))
        space = config["space"]
        study = search.run(
            search.Search(
                directory=Path(config["study_dir"]),
                space=search_space.parse(space, kind(**hyper_parameters)),
                hyper_parameters=hyper_parameters,
                kind=kind,
                trials=config["trials"],
                held_out=config["held_out"],
                parallel=config["parallel"],
            ),
            fn_args,
            import_utils.import_func_from_module(trainer_module.run_module, "run_fn"),
        )
        best = artifact_utils.get_single_uri(output_dict["best_hyperparameters"])
        _write(f"{best}/{BEST_VALUES_FILE}", {"space": [], "values": study.best_params})
        results = artifact_utils.get_single_uri(output_dict["tuner_results"])
        _write(f"{results}/{TRIALS_FILE}", search.results_of(study))
        record = SearchRecord(
            trainer_module=config["trainer_module"],
            preset=config["preset"],
            hyper_parameters=hyper_parameters,
            space=tuple(space),
            held_out=config["held_out"],
            trials=tuple(search.trials_of(study)),
            importance=search.importance_of(study),
        )
        with fileio.open(f"{results}/{SEARCH_FILE}", "w") as file:
            file.write(records.to_json(record))
        with fileio.open(f"{results}/{SEARCH_PAGE_FILE}", "w") as file:
            file.write(search_page.render(record))
        log.info(f"best: accuracy {study.best_value:.1%}  {search.in_words(study.best_params)}")


class Tuner(base_component.BaseComponent):
    """Finds good hyper-parameters, judged on train examples held out of training."""

    SPEC_CLASS = standard_component_specs.TunerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        schema: types.BaseChannel,
        custom_config: dict[str, Any],
    ) -> None:
        """Makes the node.

        Args:
            examples: Only their split `train` is read.
            transform_graph: As for the Trainer.
            schema: As for the Trainer.
            custom_config: `trainer_module`, `preset` and `hyper_parameters`; `space`, settings
                as `contract/search_space.py` reads them; `trials`, `held_out`, `parallel`,
                `study_dir`.
        """
        super().__init__(
            spec=self.SPEC_CLASS(
                examples=examples,
                transform_graph=transform_graph,
                schema=schema,
                train_args=trainer_pb2.TrainArgs(),
                eval_args=trainer_pb2.EvalArgs(),
                custom_config=json_utils.dumps(custom_config),
                best_hyperparameters=types.Channel(type=standard_artifacts.HyperParameters),
                tuner_results=types.Channel(type=standard_artifacts.TunerResults),
            )
        )


def _write(path: str, content: Any) -> None:
    with fileio.open(path, "w") as file:
        file.write(json.dumps(content, indent=2) + "\n")
