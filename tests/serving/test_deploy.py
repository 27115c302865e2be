"""The manifests are valid, agree with each other, and start our server too."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
import yaml
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.model_server import config
from serving.model_server.command_line import parse_command_line
from serving.model_server.flags import ServerConfig
from serving.model_server.metrics import Metrics
from serving.model_server.process import ServerProcess
from tests.serving import saved_models

DEPLOY = Path(__file__).parents[2] / "serving" / "deploy"
KUBERNETES_VERSION = "1.29"


@pytest.fixture(scope="module")
def rendered() -> list[dict]:
    """The objects `kubectl apply -k` would send."""
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        [kubectl, "kustomize", DEPLOY / "kubernetes"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects: list[dict], kind: str) -> dict:
    (found,) = [one for one in objects if one["kind"] == kind]
    return found


def compose_service() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["model-server"]


def test_kubernetes_objects_have_their_schema(rendered):
    validate = pytest.importorskip("kubernetes_validate")
    for one in rendered:
        validate.validate(one, KUBERNETES_VERSION, strict=True)


def test_kubernetes_objects_find_each_other(rendered):
    pod = of_kind(rendered, "Deployment")["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    for kind in ("Service", "PodDisruptionBudget"):
        selector = of_kind(rendered, kind)["spec"]["selector"]
        assert selector.get("matchLabels", selector).items() <= labels
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
    claim = of_kind(rendered, "PersistentVolumeClaim")["metadata"]["name"]
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim
    config_map = of_kind(rendered, "ConfigMap")["metadata"]["name"]
    assert volumes["config"]["configMap"]["name"] == config_map
    target = of_kind(rendered, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == of_kind(rendered, "Deployment")["metadata"]["name"]


def test_a_pod_is_ready_when_its_model_answers(rendered):
    (container,) = of_kind(rendered, "Deployment")["spec"]["template"]["spec"]["containers"]
    (model,) = config.read_models(flags_of_files()).model_config_list.config
    for probe in ("readinessProbe", "startupProbe"):
        path = container[probe]["httpGet"]["path"]
        assert path == f"/v1/models/{model.name}/metadata"
    assert path in " ".join(compose_service()["healthcheck"]["test"])


def test_every_platform_runs_the_same_image_with_the_same_flags(rendered):
    (container,) = of_kind(rendered, "Deployment")["spec"]["template"]["spec"]["containers"]
    compose = compose_service()
    assert container["image"] == compose["image"] == "tensorflow/serving:2.15.1"
    assert container["args"] == compose["command"]
    service = yaml.safe_load((DEPLOY / "kserve" / "inferenceservice.yaml").read_text())
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "tensorflow"}
    assert str(model["runtimeVersion"]) == "2.15.1"


def flags_of_files() -> ServerConfig:
    """Returns compose's flags, with its config files read from the repository."""
    here = [
        flag.replace("/config/", f"{DEPLOY / 'config'}/")
        for flag in compose_service()["command"]
    ]
    return parse_command_line(here)


def test_config_files_say_what_the_server_understands(rendered):
    flags = flags_of_files()
    batching = config.read_batching_parameters(Path(flags.batching_parameters_file))
    assert batching.allowed_batch_sizes == (1, 8, 32)
    (service,) = yaml.safe_load((DEPLOY / "config" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    assert config.read_metrics_path(flags) == service["metrics_path"]
    canary = ServerConfig(model_config_file=str(DEPLOY / "config" / "models-canary.config"))
    (model,) = config.read_models(canary).model_config_list.config
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}
    mounted = of_kind(rendered, "ConfigMap")["data"]
    for name, text in mounted.items():
        assert text == (DEPLOY / "config" / name).read_text()


def test_our_server_starts_with_the_containers_flags(tmp_path):
    saved_models.write_colours(tmp_path / "cifar10" / "1")
    models = (DEPLOY / "config" / "models.config").read_text()
    (tmp_path / "models.config").write_text(models.replace("/models/", f"{tmp_path}/"))
    flags = [
        flag.replace("/config/models.config", str(tmp_path / "models.config")).replace(
            "/config/", f"{DEPLOY / 'config'}/"
        )
        for flag in compose_service()["command"]
        if "port=" not in flag
    ]
    with ServerProcess(*flags) as server:
        url = f"{server.rest_url}/v1/models/cifar10"
        assert requests.get(f"{url}/metadata", timeout=10).ok
        body = json.dumps({"instances": [[[[240, 20, 20]] * 32] * 32]})
        reply = requests.post(f"{url}:predict", data=body, timeout=10)
        assert reply.json()["predictions"][0]["classes"] == "airplane"
        with grpc.insecure_channel(server.grpc_target) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "cifar10"
            white = np.full((1, 32, 32, 3), 255, np.uint8)
            request.inputs["images"].CopyFrom(tf.make_tensor_proto(white))
            assert stub.Predict(request).outputs["classes"].string_val  # without a deadline
        page = requests.get(f"{server.rest_url}/monitoring/prometheus/metrics", timeout=10).text
        assert ":tensorflow:serving:batching_session:wrapped_run_count" in page


def test_alerts_ask_for_metrics_that_exist():
    known = {metric.name for metric in Metrics().all()}
    rules = yaml.safe_load((DEPLOY / "config" / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            for name in re.findall(r":tensorflow:serving:\w+", rule["expr"]):
                assert re.sub("_(bucket|count|sum)$", "", name) in known or name in known
            assert rule["annotations"]["summary"]


def test_promtool_accepts_the_rules_and_the_config():
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed")
    for command in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        subprocess.run(
            [promtool, "check", command[0], DEPLOY / "config" / command[1]], check=True
        )
