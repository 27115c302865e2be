"""Searches hyper-parameters on this machine: the pipeline up to its Tuner."""

import dataclasses
import shutil
from pathlib import Path

from contract import imports, records
from contract.files import SEARCH_FILE, SEARCH_PAGE_FILE
from contract.search_record import SearchRecord
from pipeline_def import local_runner, preset_file
from pipeline_def.config import PipelineConfig, find_preset
from pipeline_def.console import quiet

TUNING_DIR = "tuning"
LOG_FILE = "tune.log"
PRESET_FILE = "tuned.yaml"


@dataclasses.dataclass(frozen=True)
class Found:
    """The result of a search: its record, page, preset, and the trials' summaries."""

    record: SearchRecord
    page: Path
    preset: Path
    trials_dir: Path


def run(config: PipelineConfig, verbose: bool = False) -> Found:
    """Searches `config.tuned`; continues a search that was killed.

    Args:
        config: The settings.
        verbose: Shows every log line.

    Raises:
        OSError: The output folder cannot be written, or a run is writing to it.
        ValueError, FileNotFoundError: The data is missing or malformed.
        RuntimeError: No trial finished.
        KeyboardInterrupt: The search was stopped.
    """
    config = local_runner.with_absolute_paths(config)
    output = Path(config.output_dir)
    with (
        local_runner.sole_run(output),
        local_runner.temporary_files_in(output / local_runner.TEMPORARY_DIR),
    ):
        batches = local_runner.batches_of(local_runner.locate(config))
        with quiet(output / TUNING_DIR / LOG_FILE, verbose) as console:
            console.say(
                f"Searching {config.tuned} in {config.tuning_trials} trials of "
                f"{config.hyper_parameters.train_steps:,} steps, data from {batches.directory}"
            )
            with console.stage("import TFX"), imports.fast():
                from pipeline_def import execution, identity
            outputs = execution.run_until_tuned(config, batches, console)
    results = Path(outputs["tuner_results"].uri)
    record = records.from_json(SearchRecord, (results / SEARCH_FILE).read_text())
    page = Path(shutil.copy(results / SEARCH_PAGE_FILE, output / SEARCH_PAGE_FILE))
    # Not those of a preset file that the search started from, which would be missing.
    named = find_preset(config.preset, config.trainer_module).hyper_parameters
    preset_file.write(output / PRESET_FILE, record, named)
    trials_dir = identity.study_dir(config, batches) / "trials"
    return Found(record, page, output / PRESET_FILE, trials_dir)
