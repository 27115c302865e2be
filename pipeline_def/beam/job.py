"""A Beam job, which may fail or be cancelled on remote machines. Does not import TFX."""

import logging
import re
import time
from typing import Any

import apache_beam as beam
import grpc
import requests

log = logging.getLogger(__name__)

# How the last line of a worker's traceback begins and ends; a message may have several lines.
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception): ", re.MULTILINE)
ANSWER_SECONDS = 10
CANCEL_SECONDS = 60
_WHERE = "[while running '"


class Job(beam.Pipeline):
    """A Beam pipeline that reports failure in one line, and is cancelled on interruption."""

    result: Any = None  # until it runs

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
                try:
                    self._cancel()
                except (grpc.RpcError, OSError) as error:
                    log.warning("The Beam job was not cancelled: %s", error)
            raise

    def _cancel(self) -> None:
        self.result.cancel()
        if self._flink_url:
            # The job server's id is the name that Flink shows, `_` and a UUID.
            name = self.result._job_id.rpartition("_")[0]
            cancel_on_flink(self._flink_url, name)


def cancel_on_flink(flink_url: str, name: str) -> None:
    """Cancels the jobs of a name by Flink's REST API. Beam's job server only stops waiting.

    Returns when the jobs have ended.

    Raises:
        ConnectionError: Flink does not answer.
        TimeoutError: A job does not end.
    """
    deadline = time.monotonic() + CANCEL_SECONDS
    try:
        while jobs := _unfinished(flink_url, name):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"Flink's job {jobs[0]} ({name}) does not end; cancel it at {flink_url}."
                )
            for job in jobs:
                url = f"{flink_url}/jobs/{job}?mode=cancel"
                requests.patch(url, timeout=ANSWER_SECONDS)
            time.sleep(0.5)
    except requests.RequestException as error:
        raise ConnectionError(f"Flink's REST API does not answer at {flink_url}.") from error


def _unfinished(flink_url: str, name: str) -> list[str]:
    """Returns the ids of the jobs of a name that may still write."""
    answer = requests.get(f"{flink_url}/jobs/overview", timeout=ANSWER_SECONDS)
    return [
        job["jid"]
        for job in answer.json()["jobs"]
        if job["name"] == name and job["state"] not in ("FINISHED", "CANCELED", "FAILED")
    ]


def what_was_raised(failure: str) -> str:
    """Returns the message of the error in a worker's traceback, or `failure` without one."""
    traceback = failure.rpartition(_WHERE)[0]
    names = list(_RAISED.finditer(traceback))
    return traceback[names[-1].end() :].strip() if names else failure
