"""TFJobs through the Kubernetes API, from inside a pod: made, followed and deleted."""

import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.config import incluster_config

from kubeflow.training_job import CONTAINER

KIND = {"group": "kubeflow.org", "version": "v1", "plural": "tfjobs"}
NAMESPACE_FILE = Path(incluster_config.SERVICE_TOKEN_FILENAME).with_name("namespace")
REQUEST_SECONDS = (10, 60)  # to connect; between two parts of an answer
DIGEST = "cifar10/what-is-trained"  # an annotation, by which a retry knows its job
TERMINATED = 128 + signal.SIGTERM
ENDED = ("Succeeded", "Failed")
OUTAGE_SECONDS = 600  # without an answer that are waited out

Spec = dict[str, Any]

log = logging.getLogger("cifar.tfjob")


class TFJobs:
    """The TFJobs of the pod's own namespace, with the rights of its service account."""

    def __init__(self, poll_seconds: float = 5.0) -> None:
        """Reads the credentials that Kubernetes mounts into the pod.

        Raises:
            RuntimeError: This is not a pod, or it has no credentials.
        """
        try:
            config.load_incluster_config()
            self.namespace = NAMESPACE_FILE.read_text().strip()
        except (config.ConfigException, OSError) as error:
            raise RuntimeError(
                "`training: workers` in the cluster file needs a pod's credentials to create "
                f"a TFJob, and there are none: {error}"
            ) from error
        self._poll_seconds = poll_seconds
        self._jobs = client.CustomObjectsApi()
        self._pods = client.CoreV1Api()

    def find(self, name: str) -> Spec | None:
        """Returns a job, or None."""
        with self._explained("looking for"):
            try:
                found: Spec = self._jobs.get_namespaced_custom_object(
                    **KIND, namespace=self.namespace, name=name
                )
            except client.ApiException as error:
                if error.status != 404:
                    raise
                return None
        return found

    def create(self, job: Spec) -> None:
        """Makes a job."""
        with self._explained("making"):
            self._jobs.create_namespaced_custom_object(
                **KIND, namespace=self.namespace, body=job
            )

    def delete(self, name: str, wait: bool = True) -> None:
        """Deletes a job with its pods, if it is there, and waits until they are gone."""
        with self._explained("deleting"):
            try:
                self._jobs.delete_namespaced_custom_object(
                    **KIND,
                    namespace=self.namespace,
                    name=name,
                    body=client.V1DeleteOptions(propagation_policy="Foreground"),
                )
            except client.ApiException as error:
                if error.status != 404:
                    raise
        while wait and self.find(name):
            time.sleep(min(self._poll_seconds, 1))

    def follow(self, name: str) -> None:
        """Shows the chief's log until the job has succeeded.

        Raises:
            RuntimeError: The job has failed or was deleted.
        """
        chief_log = ChiefLog(self._pods, self.namespace, name)
        with chief_log.shown_while_it_grows(self._poll_seconds):
            said = ""
            while (state := state_of(job := self._find_patiently(name))) not in ENDED:
                if message_of(job) != said:
                    said = message_of(job)
                    log.info(said)
                time.sleep(self._poll_seconds)
        chief_log.show()
        if state == "Failed":
            reason = f"The chief's last line: {chief_log.last_line}" * bool(chief_log.last_line)
            raise RuntimeError(f"{message_of(job)} {reason}".strip())

    def _find_patiently(self, name: str) -> Spec:
        """Returns a job, waiting out an outage; raises RuntimeError if it was deleted."""
        deadline = time.monotonic() + OUTAGE_SECONDS
        while True:
            try:
                found = self.find(name)
            except ConnectionError as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("%s Asking again.", error)
                time.sleep(self._poll_seconds)
                continue
            if found is None:
                raise RuntimeError(
                    f"TFJob {name} was deleted while it was training. Another attempt "
                    "continues from its last checkpoint."
                )
            return found

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Turns the client's errors into ones that say what to do."""
        try:
            yield
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(
                f"Kubernetes does not answer while {doing} a TFJob."
            ) from error
        except client.ApiException as error:
            said = " ".join(str(error.body or error.reason).split())[:500]
            if not error.status or error.status >= 500 or error.status == 429:
                raise ConnectionError(
                    f"Kubernetes failed while {doing} a TFJob ({error.status}: {said})."
                ) from error
            advice = {
                401: "The pod's token is not accepted.",
                403: "Apply kubeflow/manifests/training to the namespace of the steps.",
                404: "The cluster has no TFJobs: install the training operator (v1).",
            }.get(error.status, "")
            raise RuntimeError(
                f"Kubernetes refused while {doing} a TFJob in the namespace {self.namespace} "
                f"({error.status}: {said}). {advice}".rstrip()
            ) from error


class ChiefLog:
    """The log of a job's chief, of which each line is shown once, whatever interrupts it.

    Attributes:
        last_line: The last line shown; empty before the first.
    """

    def __init__(self, pods: client.CoreV1Api, namespace: str, job: str) -> None:
        """Takes the API and the job's name."""
        self.last_line = ""
        self._newest = ""  # time
        self._pods = pods
        self._where = f"{job}-chief-0", namespace

    @contextlib.contextmanager
    def shown_while_it_grows(self, poll_seconds: float) -> Iterator[None]:
        """Shows the log while the body runs, in a thread."""
        ended = threading.Event()

        def show() -> None:
            while not ended.wait(poll_seconds):
                self.show(follow=True)

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
        thread.join(REQUEST_SECONDS[0])  # the chief has ended, and so does its log

    def show(self, follow: bool = False) -> None:
        """Shows the lines that are there, and with `follow` those that come."""
        # The chief has not started yet, starts again, or is unreachable for a moment.
        with contextlib.suppress(client.ApiException, urllib3.exceptions.HTTPError):
            lines = self._pods.read_namespaced_pod_log(
                *self._where,
                container=CONTAINER,
                follow=follow,
                timestamps=True,
                _preload_content=False,
                _request_timeout=REQUEST_SECONDS,
            )
            for line in lines:
                when, _, text = line.decode(errors="replace").rstrip("\n").partition(" ")
                if when > self._newest:
                    self._newest, self.last_line = when, text
                    print(text, file=sys.stderr, flush=True)


def state_of(job: Spec) -> str:
    """Returns the newest state of a job; empty before the operator has seen it."""
    return str(_newest_condition(job).get("type", ""))


def message_of(job: Spec) -> str:
    """Returns what the operator says about a job."""
    return str(_newest_condition(job).get("message", ""))


def _newest_condition(job: Spec) -> Spec:
    true = [
        condition
        for condition in job.get("status", {}).get("conditions") or []
        if condition["status"] == "True"
    ]
    return true[-1] if true else {}


def run(jobs: TFJobs, job: Spec, write_inputs: Callable[[], None]) -> None:
    """Makes a job, or finds it running, and follows it to its end.

    On SIGTERM, the job is deleted and this process exits. Any other interruption leaves it
    running for the next attempt.

    Args:
        jobs: The namespace's.
        job: The object, complete.
        write_inputs: Puts what the pods need on the volume.

    Raises:
        ConnectionError: Kubernetes does not answer.
        RuntimeError: The job failed, or Kubernetes refused.
    """
    name = job["metadata"]["name"]
    with _sigterm_raised():
        try:
            found = jobs.find(name)
            if found and (is_other(found, job) or state_of(found) == "Failed"):
                log.info("Deleting TFJob %s of an earlier attempt (%s).", name, state_of(found))
                jobs.delete(name)
                found = None
            if found:
                log.info("Following TFJob %s of an earlier attempt.", name)
            else:
                write_inputs()
                jobs.create(job)
                log.info("Created TFJob %s in the namespace %s.", name, jobs.namespace)
            jobs.follow(name)
        except SystemExit:
            jobs.delete(name, wait=False)
            log.info("Deleted TFJob %s, because this step was stopped.", name)
            raise


def is_other(found: Spec, job: Spec) -> bool:
    """Returns whether a job of this name trains something else, or in other pods."""
    told = (each["metadata"].get("annotations", {}).get(DIGEST) for each in (found, job))
    return len(set(told)) > 1


@contextlib.contextmanager
def _sigterm_raised() -> Iterator[None]:
    """Lets SIGTERM raise SystemExit in the body."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
