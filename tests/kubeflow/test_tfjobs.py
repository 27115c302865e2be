"""The life of a TFJob, over HTTPS: pods are real processes, but train nothing here."""

import copy
import os
import signal
import threading
from pathlib import Path

import pytest
from kubernetes.config import incluster_config

from kubeflow import tfjobs
from kubeflow.cluster import Cluster, Training
from kubeflow.tfjobs import DIGEST, TFJobs, run
from kubeflow.training_job import training_job
from tests.kubeflow import training_operator
from tests.kubeflow.training_operator import Operator
from tests.processes import wait_until

IMAGE = "registry.test/cifar:1"
NAME = "cifar10-0123456789abcdef"
CLUSTER = Cluster(mount_path="/mnt/cifar10", training=Training(workers=2), retries=1)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    directory = tmp_path_factory.mktemp("operator")
    volume = directory / "volume"
    volume.mkdir()
    with training_operator.serve(directory / "api", {"cifar10": volume}) as found:
        yield *found, volume


@pytest.fixture
def operator(served, monkeypatch) -> Operator:
    """The operator; this process has what Kubernetes gives to a pod."""
    operator, address, account, _ = served
    for name, value in training_operator.account_environment(address).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(account / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(account / "ca.crt"))
    monkeypatch.setattr(tfjobs, "NAMESPACE_FILE", account / "namespace")
    operator.requests.clear()
    before = set(threading.enumerate())
    yield operator
    operator.outage = False
    for name in list(operator.jobs):
        operator.delete(name)
    # Those that follow a log would otherwise call the next test's operator, or none.
    wait_until(lambda: not any(each.daemon for each in set(threading.enumerate()) - before))


@pytest.fixture
def volume(served) -> Path:
    volume = served[-1]
    for path in volume.iterdir():
        path.unlink()
    return volume


def job_of(chief: str, worker: str = "sleep 1000", digest: str = "a") -> dict:
    """Returns a TFJob whose pods run shell scripts."""
    job = training_job(IMAGE, IMAGE, CLUSTER)
    scripts = {"Chief": chief, "Worker": worker, "Evaluator": "sleep 1000"}
    for kind, replica in job["spec"]["tfReplicaSpecs"].items():
        (container,) = replica["template"]["spec"]["containers"]
        container |= {"command": ["sh", "-c"], "args": [scripts[kind]]}
    job["metadata"] |= {"name": NAME, "annotations": {DIGEST: digest}}
    return job


def follow(job: dict, written: list | None = None) -> None:
    run(TFJobs(poll_seconds=0.1), job, lambda: written.append(1) if written is not None else 0)


def posts(operator: Operator) -> int:
    return sum(request.startswith("POST") for request in operator.requests)


def test_a_job_is_made_and_followed_to_its_end_with_the_chief_s_log(operator, capfd):
    written = []
    follow(job_of("echo step 1; sleep 1; echo $TF_CONFIG; echo step 2"), written)
    shown = capfd.readouterr().err.splitlines()
    assert (shown[0], shown[2]) == ("step 1", "step 2")
    assert '"task": {"type": "chief", "index": 0}' in shown[1]
    assert '"worker": ["127.0.0.1:' in shown[1] and "evaluator" not in shown[1]
    assert (written, posts(operator)) == ([1], 1)
    assert operator.jobs[NAME].state == "Succeeded"
    assert not any(pod.is_running for pod in operator.all_pods.values())


def test_a_killed_chief_comes_back_and_no_line_is_shown_twice(operator, volume, capfd):
    chief = "echo began $(ls /mnt/cifar10); [ -e /mnt/cifar10/again ] || sleep 1000"

    def kill() -> None:
        wait_until(lambda: NAME in operator.jobs and chief_of(operator).all_lines)
        (volume / "again").touch()
        chief_of(operator).end()

    thread = threading.Thread(target=kill)
    thread.start()
    follow(job_of(chief))
    thread.join()
    assert capfd.readouterr().err.splitlines() == ["began", "began again"]
    assert chief_of(operator).restarts == 1


def chief_of(operator: Operator) -> training_operator.Pod:
    return operator.all_pods[f"{NAME}-chief-0"]


def test_a_job_whose_pods_keep_failing_fails_with_the_chief_s_last_line(operator):
    with pytest.raises(RuntimeError, match=r"backoff limit.*last line: Error: no memory"):
        follow(job_of("sleep 0.3; echo Error: no memory; exit 1"))
    limit = operator.jobs[NAME].body["spec"]["runPolicy"]["backoffLimit"]
    assert chief_of(operator).restarts == limit == 4  # once for each of three replicas


def test_sigterm_deletes_the_job_and_ends_the_step(operator):
    def terminate() -> None:
        wait_until(lambda: operator.jobs and operator.jobs[NAME].state == "Running")
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=terminate)
    thread.start()
    with pytest.raises(SystemExit) as ended:
        follow(job_of("sleep 1000"))
    thread.join()
    assert ended.value.code == 128 + signal.SIGTERM
    assert not operator.jobs
    assert not any(pod.is_running for pod in operator.all_pods.values())
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_retry_follows_the_job_that_it_finds(operator, volume, capfd):
    job = job_of("echo step 1; while [ ! -e /mnt/cifar10/go ]; do sleep 0.1; done; echo step 2")
    TFJobs().create(copy.deepcopy(job))  # by an attempt that was killed
    written = []
    threading.Timer(1.0, (volume / "go").touch).start()
    follow(job, written)
    assert capfd.readouterr().err.splitlines() == ["step 1", "step 2"]
    assert (written, posts(operator)) == ([], 1)


def test_a_retry_finds_the_job_that_ended_meanwhile(operator):
    job = job_of("exit 0")
    TFJobs().create(copy.deepcopy(job))
    wait_until(lambda: operator.jobs[NAME].state == "Succeeded")
    follow(job)
    assert posts(operator) == 1


@pytest.mark.parametrize("earlier", ["failed", "other"])
def test_a_job_that_failed_or_trained_something_else_is_replaced(operator, earlier):
    if earlier == "failed":
        TFJobs().create(job_of("exit 1"))
        wait_until(lambda: operator.jobs[NAME].state == "Failed")
    else:
        TFJobs().create(job_of("sleep 1000", digest="b"))
    written = []
    follow(job_of("exit 0"), written)
    assert (written, posts(operator)) == ([1], 2)
    assert operator.jobs[NAME].state == "Succeeded"


def test_an_outage_of_the_api_is_waited_out(operator, caplog):
    def interrupt() -> None:
        wait_until(lambda: operator.jobs and operator.jobs[NAME].state == "Running")
        operator.outage = True
        threading.Event().wait(0.5)
        operator.outage = False

    thread = threading.Thread(target=interrupt)
    thread.start()
    follow(job_of("sleep 2"))
    thread.join()
    assert "Kubernetes failed while looking for a TFJob (503" in caplog.text


def test_a_job_that_somebody_deletes_fails_the_step(operator):
    def delete() -> None:
        wait_until(lambda: operator.jobs and operator.jobs[NAME].state == "Running")
        operator.delete(NAME)

    thread = threading.Thread(target=delete)
    thread.start()
    with pytest.raises(RuntimeError, match="was deleted while it was training"):
        follow(job_of("sleep 1000"))
    thread.join()


def test_missing_rights_are_named(operator, monkeypatch):
    monkeypatch.setattr(training_operator, "is_allowed", lambda *_: False)
    with pytest.raises(RuntimeError, match=r"403: .*cannot get tfjobs.*manifests/training"):
        follow(job_of("exit 0"))


def test_a_cluster_without_the_operator_is_named(operator, monkeypatch):
    monkeypatch.setattr(training_operator, "JOBS", "/apis/nothing")
    with pytest.raises(RuntimeError, match=r"has no TFJobs: install the training operator"):
        follow(job_of("exit 0"))


def test_outside_a_pod_the_error_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(RuntimeError, match="needs a pod's credentials"):
        TFJobs()
