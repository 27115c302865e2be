"""Beam's local runner with its work in several processes of a worker pool."""

import threading
from concurrent import futures
from typing import Any

from apache_beam.runners import runner
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.transforms import environments

from pipeline_def.beam import worker_pool

CHECK_SECONDS = 1.0


class Processes(runner.PipelineRunner):
    """Runs a pipeline in `--direct_num_workers` processes.

    Beam's `--direct_running_mode=multi_processing` starts new ones for each job, each of which
    imports TensorFlow and TFX, and waits forever for a worker that was killed.
    """

    def run_pipeline(self, pipeline: Any, options: Any) -> runner.PipelineResult:
        """Runs a pipeline to its end.

        Raises:
            RuntimeError: A worker failed, with its message, or was killed.
        """
        with worker_pool.serve() as pool:
            environment = environments.ExternalEnvironment(pool.address)
            local = fn_runner.FnApiRunner(default_environment=environment)
            result: futures.Future[runner.PipelineResult] = futures.Future()

            def run() -> None:
                try:
                    result.set_result(local.run_pipeline(pipeline, options))
                except BaseException as error:
                    result.set_exception(error)

            threading.Thread(target=run, daemon=True).start()
            while not futures.wait([result], CHECK_SECONDS).done:
                pool.check()
            return result.result()
