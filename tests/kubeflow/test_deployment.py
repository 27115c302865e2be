"""The manifests and the README are valid and agree with each other."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from kubeflow.cluster import Cluster
from pipeline_def.code_version import ROOT

MANIFESTS = ROOT / "kubeflow/manifests"
OVERLAYS = ("single-user", "multi-user")
KUBERNETES_VERSION = kubernetes_validate.latest_version()
USER = "65532"


def manifests() -> list[dict]:
    return [
        document
        for path in sorted(MANIFESTS.rglob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    ]


def of_kind(kind: str) -> dict:
    (found,) = [one for one in manifests() if one["kind"] == kind]
    return found


def rendered(folder: Path) -> list[dict]:
    """Returns what `kubectl apply -k` would send."""
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def test_manifests_have_kubernetes_schemas():
    for document in manifests():
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)


def test_what_is_applied_is_there_and_secrets_are_not():
    base = yaml.safe_load((MANIFESTS / "base/kustomization.yaml").read_text())
    files = {path.name for path in (MANIFESTS / "base").glob("*.yaml")}
    assert set(base["resources"]) == files - {"kustomization.yaml"}
    for overlay in OVERLAYS:
        kustomization = yaml.safe_load((MANIFESTS / overlay / "kustomization.yaml").read_text())
        assert kustomization["resources"] == ["../base"]


needs_kubectl = pytest.mark.skipif(
    not shutil.which("kubectl") and not os.environ.get("CI"), reason="kubectl is not installed"
)


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_kubectl_sends_has_the_newest_kubernetes_schemas(overlay):
    documents = rendered(MANIFESTS / overlay)
    # No Namespace, because `kubectl delete -k` would delete everything in it.
    kinds = ["PersistentVolumeClaim", "CronJob", "Job"]
    assert sorted(each["kind"] for each in documents) == sorted(kinds)
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    assert {each["metadata"]["namespace"] for each in documents} == {
        "kubeflow" if overlay == "single-user" else "team"
    }


@needs_kubectl
def test_the_right_to_make_tfjobs_is_given_to_the_steps_account(tmp_path):
    folder = shutil.copytree(MANIFESTS / "training", tmp_path / "training")
    settings = folder / "kustomization.yaml"
    settings.write_text(settings.read_text().replace("namespace: kubeflow", "namespace: team"))
    role, binding = documents = rendered(folder)
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    assert {each["metadata"]["namespace"] for each in documents} == {"team"}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = {"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": "team"}
    assert binding["subjects"] == [account]


@needs_kubectl
def test_a_new_image_is_a_new_job_since_a_job_cannot_change(tmp_path):
    folder = shutil.copytree(MANIFESTS, tmp_path / "manifests")
    base = folder / "base/kustomization.yaml"
    base.write_text(base.read_text().replace('newTag: "1"', 'newTag: "2.1"'))
    documents = {each["kind"]: each for each in rendered(folder / "single-user")}
    job = documents["Job"]
    assert job["metadata"]["name"] == "cifar10-fetch-data-2.1"
    pod = job["spec"]["template"]["spec"]
    images = {each["image"] for each in (*pod["initContainers"], *pod["containers"])}
    assert images == {"registry.example.org/cifar:2.1"}
    pod = documents["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example.org/cifar:2.1"


def pod_of(kind: str) -> dict:
    spec = of_kind(kind)["spec"]
    return spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_a_job_is_no_part_of_a_mesh_and_goes_away(kind):
    job = of_kind(kind)
    job = job["spec"].get("jobTemplate", job)
    metadata = job["spec"]["template"]["metadata"]
    assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
    assert metadata["annotations"]["sidecar.istio.io/inject"] == "false"
    assert job["spec"]["ttlSecondsAfterFinished"] > 0


def test_the_volume_is_the_one_the_compiler_mounts():
    claim = of_kind("PersistentVolumeClaim")
    assert claim["metadata"]["name"] == Cluster().volume_claim
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in map(pod_of, ("Job", "CronJob")):
        (mount,) = pod["containers"][0]["volumeMounts"]
        assert mount["mountPath"] == Cluster().mount_path
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == Cluster().volume_claim


def test_the_job_gives_the_volume_to_the_user_of_the_steps(tmp_path):
    pod = of_kind("Job")["spec"]["template"]["spec"]
    (init,) = pod["initContainers"]
    assert init["volumeMounts"] == pod["containers"][0]["volumeMounts"]
    shell, flag, command = init["command"]
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o755)
    if os.geteuid() == 0:
        for _ in range(2):  # once to change it, once to find it changed
            ours = command.replace(Cluster().mount_path, str(volume))
            subprocess.run([shell, flag, ours], check=True)
            assert (volume.stat().st_uid, volume.stat().st_gid) == (int(USER), int(USER))
    assert init["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    assert pod["containers"][0]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_a_job_runs_a_command_there_is(kind):
    from click.testing import CliRunner

    from cli.main import main

    command = pod_of(kind)["containers"][0]["command"]
    assert command[0] == "cifar"
    result = CliRunner().invoke(main, [*command[1:3], "--help"])
    assert result.exit_code == 0
    (option,) = [argument for argument in command if argument.startswith("--")]
    assert option in result.output


def test_the_readme_s_commands_are_ones_there_are():
    from cli.main import main

    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "kubeflow/README.md").read_text(), re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("cifar ")]
    assert [command[1:3] for command in commands] == [
        ["kubeflow", "compile"],
        *[["kubeflow", "submit"]] * 4,
        ["kubeflow", "compile"],  # of the pipeline for drift
        ["kubeflow", "submit"],
    ]
    for _, group, name, *arguments in commands:
        command = main.commands[group].commands[name]
        known = {option for each in command.params for option in each.opts}
        assert {each for each in arguments if each.startswith("-")} <= known
    applied = re.findall(r"kubectl apply -k (\S+)", "".join(blocks))
    assert [Path(folder).name for folder in applied] == [*OVERLAYS, "training"]
    assert all((ROOT / folder / "kustomization.yaml").is_file() for folder in applied)
    for label, value in re.findall(r"-l (\S+)=(\S+)", "".join(blocks)):
        assert of_kind("Job")["metadata"]["labels"][label] == value
