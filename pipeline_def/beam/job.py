"""A Beam job, which may fail or be cancelled on remote machines. Does not import TFX."""

import logging
import re
from typing import Any

import apache_beam as beam
import grpc

log = logging.getLogger(__name__)

# How the last line of a worker's traceback begins and ends; a message may have several lines.
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception): ", re.MULTILINE)
_WHERE = "[while running '"


class Job(beam.Pipeline):
    """A Beam pipeline that reports failure in one line, and is cancelled on interruption."""

    result = None  # until it runs

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
            raise


def what_was_raised(failure: str) -> str:
    """Returns the message of the error in a worker's traceback, or `failure` without one."""
    traceback = failure.rpartition(_WHERE)[0]
    names = list(_RAISED.finditer(traceback))
    return traceback[names[-1].end() :].strip() if names else failure
