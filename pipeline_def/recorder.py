"""The record of the run under way, on disk as it stands."""

import dataclasses
import datetime
import time
from collections.abc import Sequence
from pathlib import Path

from contract.files import RECORD_FILE
from pipeline_def.config import PipelineConfig
from report import run_record, runs
from report.run_record import RunRecord, Status

LOG_FILE = "run.log"


class Recorder:
    """Keeps the record of one run, in a new folder of its own and in the output folder."""

    def __init__(self, config: PipelineConfig, earlier: Sequence[RunRecord]) -> None:
        """Makes the folder of a run that starts now, and writes its first record.

        Args:
            config: Of the run; its output folder is this run's alone.
            earlier: The runs before it, oldest first.

        Raises:
            OSError: The output folder cannot be written.
        """
        self._started = time.monotonic()
        self._earlier = earlier
        self._output = Path(config.output_dir)
        self.run_dir = runs.new_run_dir(self._output)
        self.keep(
            RunRecord(
                run_id=self.run_dir.name,
                status=run_record.RUNNING,
                config=config.as_record(),
                started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
                log=str(self.log_file),
            )
        )

    @property
    def log_file(self) -> Path:
        """Returns where the log of the run goes."""
        return self.run_dir / LOG_FILE

    def keep(self, record: RunRecord) -> None:
        """Takes a record for what is known now, and writes it.

        Raises:
            OSError: It cannot be written; it is taken all the same.
        """
        seconds = round(time.monotonic() - self._started, 1)
        self.record = dataclasses.replace(record, seconds=seconds)
        runs.write(self.record, self.run_dir / RECORD_FILE, self._output / RECORD_FILE)

    def end_early(self, error: BaseException) -> None:
        """Takes note of an error or a signal that ended the run; `keep` writes it."""
        record = runs.settle(self.record, self._earlier)  # the model may be pushed already
        if record.status == run_record.KILLED:
            is_stopped = isinstance(error, KeyboardInterrupt)
            status: Status = run_record.STOPPED if is_stopped else run_record.FAILED
            record = dataclasses.replace(record, status=status)
        self.record = dataclasses.replace(record, error=str(error) or type(error).__name__)
