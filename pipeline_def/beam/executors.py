"""Runs the executors of the Beam nodes on the runner of this run.

TFX takes a runner's arguments from the pipeline and makes them part of the cache key, so a
different port would change the key. It also builds and stages a package of itself for each node
(base_beam_executor.py). Passing the arguments here avoids both.
"""

from collections.abc import Mapping
from typing import Any

from tfx.orchestration.portable import beam_executor_operator, data_types
from tfx.proto.orchestration import executable_spec_pb2, execution_result_pb2

from pipeline_def.beam.job import Job
from pipeline_def.beam.runner import Runner


def operators_for(runner: Runner) -> Mapping[Any, type]:
    """Returns the Launcher's operators that make Beam executors use the runner."""
    if not runner.arguments:
        return {}

    class OnRunner(beam_executor_operator.BeamExecutorOperator):
        def run_executor(
            self, execution_info: data_types.ExecutionInfo
        ) -> execution_result_pb2.ExecutorOutput:
            return super().run_executor(
                execution_info, lambda: Job(list(runner.arguments), runner.flink_url)
            )

    return {executable_spec_pb2.BeamExecutableSpec: OnRunner}
