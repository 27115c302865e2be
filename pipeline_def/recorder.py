"""Keeps the record of the current run on disk."""

import dataclasses
import datetime
import time
from collections.abc import Sequence
from pathlib import Path

from contract.files import RECORD_FILE
from pipeline_def.code_version import ROOT
from pipeline_def.config import PipelineConfig
from report import environment, run_record, runs
from report.run_record import RunRecord, Status

LOG_FILE = "run.log"


class Recorder:
    """Keeps the record of one run, in its own new folder and in the output folder."""

    def __init__(self, config: PipelineConfig, earlier: Sequence[RunRecord]) -> None:
        """Creates the folder of a run that starts now, and writes its first record.

        Args:
            config: The run's settings; no other run may use its output folder.
            earlier: The earlier runs, oldest first.

        Raises:
            OSError: The output folder cannot be written.
        """
        self._started = time.monotonic()
        self.earlier = earlier
        self._output = Path(config.output_dir)
        self.run_dir = runs.new_run_dir(self._output)
        self.keep(
            RunRecord(
                run_id=self.run_dir.name,
                status=run_record.RUNNING,
                config=config.as_record(),
                started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
                log=str(self.log_file),
                environment=environment.read(ROOT),
            )
        )

    @property
    def log_file(self) -> Path:
        """Returns the path of the run's log."""
        return self.run_dir / LOG_FILE

    def keep(self, record: RunRecord) -> None:
        """Replaces the record and writes it.

        Raises:
            OSError: It cannot be written; it is replaced in memory nevertheless.
        """
        seconds = round(time.monotonic() - self._started, 1)
        self.record = dataclasses.replace(record, seconds=seconds)
        runs.write(self.record, self.run_dir / RECORD_FILE, self._output / RECORD_FILE)

    def end_early(self, error: BaseException) -> None:
        """Records the error or signal that ended the run; `keep` writes the record."""
        record = runs.settle(self.record, self.earlier)  # the model may be pushed already
        if record.status == run_record.KILLED:
            is_stopped = isinstance(error, KeyboardInterrupt)
            status: Status = run_record.STOPPED if is_stopped else run_record.FAILED
            record = dataclasses.replace(record, status=status)
        self.record = dataclasses.replace(record, error=str(error) or type(error).__name__)
