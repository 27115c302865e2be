"""The manifests and the README are valid and agree with each other."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from kubeflow.cluster import Beam, Cluster
from pipeline_def.beam import cluster, runner
from pipeline_def.code_version import ROOT
from tests.kubeflow import flink_crd

MANIFESTS = ROOT / "kubeflow/manifests"
OVERLAYS = ("single-user", "multi-user")
KUBERNETES_VERSION = kubernetes_validate.latest_version()
USER = "65532"
STEP_LABEL = {"pipelines.kubeflow.org/v2_component": "true"}  # tests/kubeflow/kfp checks it


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


def check(document: dict) -> None:
    """Raises an error for a field that Kubernetes or Flink's operator would refuse or drop."""
    if document["kind"] != "FlinkDeployment":
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
        return
    flink_crd.validate(document)
    for role in ("jobManager", "taskManager"):
        pod = {"apiVersion": "v1", "kind": "Pod"} | document["spec"][role]["podTemplate"]
        kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True)


def test_manifests_have_kubernetes_schemas():
    for document in manifests():
        check(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "taskManager", "replica"), 2),
        (("spec", "flinkVersion"), "v2_19"),
        (("spec", "flinkConfiguration", "taskmanager.numberOfTaskSlots"), 1),
        (("spec", "taskManager", "podTemplate", "spec", "securityContext", "fsgroup"), 65532),
    ],
)
def test_the_operator_would_not_take_another_field_or_type(path, value):
    document = of_kind("FlinkDeployment")
    flink_crd.validate(document)
    *parents, name = path
    place = document
    for parent in parents:
        place = place[parent]
    place[name] = value
    with pytest.raises(jsonschema.ValidationError):
        flink_crd.validate(document)


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


BEAM_KINDS = ["Deployment", "FlinkDeployment", "NetworkPolicy", "Service", "ServiceAccount"]


@needs_kubectl
def test_flink_and_its_workers_are_in_the_namespace_of_the_steps(tmp_path):
    folder = shutil.copytree(MANIFESTS / "beam", tmp_path / "beam")
    settings = folder / "kustomization.yaml"
    text = settings.read_text().replace("namespace: kubeflow", "namespace: team")
    settings.write_text(text.replace('newTag: "1"', 'newTag: "2.1"'))
    documents = rendered(folder)
    for document in documents:
        check(document)
    assert sorted({each["kind"] for each in documents}) == BEAM_KINDS
    assert {each["metadata"]["namespace"] for each in documents} == {"team"}
    (flink,) = (each for each in documents if each["kind"] == "FlinkDeployment")
    pool = pool_of(flink)
    assert pool["image"] == "registry.example.org/cifar:2.1"


def pool_of(flink: dict) -> dict:
    """Returns the container beside a TaskManager."""
    pod = flink["spec"]["taskManager"]["podTemplate"]["spec"]
    (pool,) = (each for each in pod["containers"] if each["name"] == "worker-pool")
    return pool


def test_the_workers_of_flink_have_the_volume_where_the_steps_have_it():
    flink = of_kind("FlinkDeployment")
    pod = flink["spec"]["taskManager"]["podTemplate"]["spec"]
    (volume,) = (each for each in pod["volumes"] if "persistentVolumeClaim" in each)
    assert volume["persistentVolumeClaim"]["claimName"] == Cluster().volume_claim
    mounts = [{"name": volume["name"], "mountPath": Cluster().mount_path}]
    assert pool_of(flink)["volumeMounts"] == mounts
    assert pod["securityContext"]["fsGroup"] == int(USER)


def test_the_probe_finds_a_pool_on_its_port_and_no_other():
    pool = pool_of(of_kind("FlinkDeployment"))
    assert pool["command"] == ["cifar", "beam", "worker-pool", "--port", str(runner.POOL_PORT)]
    (*_, code) = probe = pool["readinessProbe"]["exec"]["command"]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        probe[-1] = code.replace(str(runner.POOL_PORT), port)
        probe[0] = sys.executable
        assert subprocess.run(probe).returncode == 0
    assert subprocess.run(probe, stderr=subprocess.DEVNULL).returncode != 0


def test_flink_runs_as_many_tasks_as_the_cluster_file_asks_for():
    spec = of_kind("FlinkDeployment")["spec"]
    config = spec["flinkConfiguration"]
    slots = int(config["taskmanager.numberOfTaskSlots"])
    assert slots == 1  # all tasks of a TaskManager share one worker
    assert spec["taskManager"]["replicas"] * slots == Beam().parallelism
    assert config["parallelism.default"] == str(Beam().parallelism)


def test_flink_and_the_job_server_have_the_same_jar_of_beam():
    (container,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    for role in ("jobManager", "taskManager"):
        pod = of_kind("FlinkDeployment")["spec"][role]["podTemplate"]["spec"]
        (init,) = pod["initContainers"]
        assert init["image"] == container["image"]
        (jar,) = pod["containers"][0]["volumeMounts"]
        assert jar["mountPath"] == "/opt/flink/lib/beam.jar"
        (folder,) = init["volumeMounts"]
        assert folder["name"] == jar["name"]
        assert init["command"][-1].endswith(f" {folder['mountPath']}/{jar['subPath']}")
        assert jar["name"] in {each["name"] for each in pod["volumes"]}


def test_flink_is_configured_as_on_this_machine():
    here = cluster._flink_config(cluster.Cluster("flink"))
    there = of_kind("FlinkDeployment")["spec"]["flinkConfiguration"]
    strategy = {name for name in here if name.startswith("restart-strategy")}
    assert len(strategy) == 3
    memory = {"taskmanager.memory.managed.size", "taskmanager.memory.task.off-heap.size"}
    for name in (*strategy, *memory, "classloader.resolve-order"):
        assert there[name] == str(here[name])


def test_the_steps_find_the_job_server_and_flink_by_their_services():
    job_server, service = of_kind("Deployment"), of_kind("Service")
    host, port = Beam().job_server.split(":")
    assert service["metadata"]["name"] == host
    (container,) = job_server["spec"]["template"]["spec"]["containers"]
    options = dict(option.split("=") for option in container["args"])
    assert options["--job-host"] == host and options["--job-port"] == port
    # The job server says where files go: to its own host, on another port.
    ports = {str(each["port"]) for each in service["spec"]["ports"]}
    assert ports == {port, options["--artifact-port"]}
    names = {each["name"]: str(each["containerPort"]) for each in container["ports"]}
    for each in service["spec"]["ports"]:
        assert names[each["targetPort"]] == str(each["port"])
    labels = job_server["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    flink = of_kind("FlinkDeployment")["metadata"]["name"]
    assert Beam().flink_url == f"http://{flink}-rest:8081"
    assert options["--flink-master"] == f"{flink}-rest:8081"


def test_only_steps_and_the_operator_reach_what_runs_code():
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in manifests()
        if each["kind"] == "NetworkPolicy"
    }
    steps = {"podSelector": {"matchLabels": STEP_LABEL}}
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    job_server = policies["cifar10-beam"]
    assert job_server["podSelector"]["matchLabels"].items() <= labels.items()
    (ingress,) = job_server["ingress"]
    assert ingress["from"] == [steps]
    assert {each["port"] for each in ingress["ports"]} == {8099, 8098}
    flink = policies["cifar10-flink"]
    each_other, rest = flink["ingress"]
    name = of_kind("FlinkDeployment")["metadata"]["name"]
    assert flink["podSelector"]["matchLabels"] == {"app": name}
    assert each_other == {"from": [{"podSelector": {"matchLabels": {"app": name}}}]}
    assert steps in rest["from"] and [each["port"] for each in rest["ports"]] == [8081]
    for policy in policies.values():
        assert policy["policyTypes"] == ["Ingress"]
        for source in (one for rule in policy["ingress"] for one in rule["from"]):
            assert source["podSelector"]["matchLabels"], "no rule allows every pod"


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
        ["kubeflow", "compile"],  # with Flink
        ["kubeflow", "submit"],
    ]
    for _, group, name, *arguments in commands:
        command = main.commands[group].commands[name]
        known = {option for each in command.params for option in each.opts}
        assert {each for each in arguments if each.startswith("-")} <= known
    applied = re.findall(r"kubectl apply -k (\S+)", "".join(blocks))
    assert [Path(folder).name for folder in applied] == [*OVERLAYS, "training", "beam"]
    assert all((ROOT / folder / "kustomization.yaml").is_file() for folder in applied)
    for label, value in re.findall(r"-l (\S+)=(\S+)", "".join(blocks)):
        assert of_kind("Job")["metadata"]["labels"][label] == value
