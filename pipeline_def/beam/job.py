"""A Beam job, which may fail or be cancelled on remote machines. Does not import TFX."""

import logging
import re
from typing import Any

import apache_beam as beam
import grpc
import requests

log = logging.getLogger(__name__)

# How the last line of a worker's traceback begins and ends; a message may have several lines.
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception): ", re.MULTILINE)
ANSWER_SECONDS = 10
_WHERE = "[while running '"


class Job(beam.Pipeline):
    """A Beam pipeline that reports failure in one line, and is cancelled on interruption."""

    result = None  # until it runs

    def __init__(self, argv: list[str], flink_url: str = "") -> None:
        super().__init__(argv=argv)
        self._flink_url = flink_url

    def __exit__(self, *exception: Any) -> None:
        """Runs it.

        Raises:
            RuntimeError: The job server rejected it, or a worker failed, with its message.
        """
        try:
            super().__exit__(*exception)
        except grpc.RpcError as error:
            raise RuntimeError(f"The Beam job server says: {error.details()}") from error
        except RuntimeError as error:
            log.exception("The Beam job failed")
            raise RuntimeError(what_was_raised(str(error))) from error
        except KeyboardInterrupt:
            if self.result:
                self.result.cancel()
                if self._flink_url:
                    cancel_on_flink(self._flink_url, self.result._job_id)
            raise


def cancel_on_flink(flink_url: str, job_id: str) -> None:
    """Cancels a job by Flink's REST API. Beam's job server only stops waiting for it.

    Args:
        flink_url: Of the REST API.
        job_id: The job server's: the name that Flink shows, `_` and a UUID.

    Raises:
        requests.RequestException: Flink does not answer.
    """
    name = job_id.rpartition("_")[0]
    overview = requests.get(f"{flink_url}/jobs/overview", timeout=ANSWER_SECONDS)
    for job in overview.json()["jobs"]:
        if job["name"] == name:
            url = f"{flink_url}/jobs/{job['jid']}?mode=cancel"
            requests.patch(url, timeout=ANSWER_SECONDS)


def what_was_raised(failure: str) -> str:
    """Returns the message of the error in a worker's traceback, or `failure` without one."""
    traceback = failure.rpartition(_WHERE)[0]
    names = list(_RAISED.finditer(traceback))
    return traceback[names[-1].end() :].strip() if names else failure
