"""The record of a run, which is written to `run.json`."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from contract.serving_report import ServingReport
from contract.training_record import TrainingRecord
from report import settings
from report.data_change import DataChange, DataDrift, DataFile
from report.environment import Environment
from report.facts import Gate

Status = Literal["running", "killed", "stopped", "failed", "pushed", "not_blessed"]
RUNNING: Final = "running"
KILLED: Final = "killed"  # on disk it is still `running`, but nothing runs
STOPPED: Final = "stopped"
FAILED: Final = "failed"
PUSHED: Final = "pushed"
NOT_BLESSED: Final = "not_blessed"
UNFINISHED = (RUNNING, KILLED, STOPPED, FAILED)


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """The result of one node.

    Attributes:
        seconds: The time that it took, or that the cache look-up took.
        outputs: The URI of each output, by name.
    """

    seconds: float
    cached: bool
    outputs: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """A run and its results; None for stages that did not run.

    Attributes:
        run_id: The name of its folder; sorts by time.
        config: Every field of its PipelineConfig, without passwords.
        started: ISO 8601, with the offset of the local time.
        seconds: The time so far, or in total.
        log: The path of its log.
        data_files: The files of the data, by name.
        data_change: The difference from the data of the last run that pushed, if there was one.
        data_drift: Its distance from the data of the last version of other data.
        training_fingerprint: A hash of everything that affects the weights; names the folder
            of the checkpoints.
        upstream: The nodes that each node waits for.
        stages: The finished nodes, in the order they ran.
        failed_stage: The node that is running, or in which the run ended.
        accuracy: The candidate's accuracy on eval, as for the other metrics.
        blessed: Whether both gates blessed the candidate.
        push_refusal: Why a blessed model was not pushed.
        state: A hash of the data, the code and the settings.
        is_cleaned: Whether its artifacts, its log and its page may be deleted.
    """

    run_id: str
    status: Status
    config: Mapping[str, Any]
    started: str = ""
    seconds: float = 0.0
    log: str = ""
    data_source: str | None = None
    data_files: Mapping[str, DataFile] = dataclasses.field(default_factory=dict)
    data_change: DataChange | None = None
    data_drift: DataDrift | None = None
    training_fingerprint: str = ""
    environment: Environment = dataclasses.field(default_factory=Environment)
    upstream: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    stages: Mapping[str, StageRecord] = dataclasses.field(default_factory=dict)
    failed_stage: str | None = None
    error: str | None = None
    accuracy: float | None = None
    top_3_accuracy: float | None = None
    top_5_accuracy: float | None = None
    cross_entropy: float | None = None
    eval_examples: int | None = None
    class_accuracy: Mapping[str, float] = dataclasses.field(default_factory=dict)
    blessed: bool | None = None
    gate: Gate | None = None
    serving_check: ServingReport | None = None
    pushed_version: str | None = None
    pushed_path: str | None = None
    push_refusal: str = ""
    train_steps: int | None = None
    examples_per_second: float | None = None
    training: TrainingRecord | None = None
    state: str = ""
    is_cleaned: bool = False

    @functools.cached_property
    def settings(self) -> settings.Settings:
        """Returns the settings that a report uses."""
        return settings.read(self.config)

    def uri(self, stage: str, output: str) -> str:
        """Returns the URI of a stage's output; empty if the stage did not run."""
        record = self.stages.get(stage)
        return record.outputs.get(output, "") if record else ""
