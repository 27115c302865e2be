"""`cifar serve`, `cifar predict` and `cifar doctor` on the command line."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys

import pytest
import requests
from click.testing import CliRunner

from cli.main import main
from pipeline_def.code_version import ROOT
from serving.model_server.flags import NO_EFFECT, ServerConfig
from tests import finished_runs
from tests.conftest import CLASS_COLOURS
from tests.serving import saved_models
from tests.serving.test_client import encoded
from tests.shared_server import free_port, wait_until_available


@pytest.fixture
def image(tmp_path):
    """A picture of a ship."""
    (tmp_path / "ship.png").write_bytes(encoded(CLASS_COLOURS[8], (90, 50)))
    return str(tmp_path / "ship.png")


def cifar(*arguments: str):
    return CliRunner().invoke(main, arguments)


def test_serve_offers_what_was_pushed_until_it_is_told_to_stop(models_dir, tmp_path):
    pushed = tmp_path / "serving" / saved_models.COLOURS
    shutil.copytree(models_dir / saved_models.COLOURS, pushed)
    ports = free_port(), free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from cli.main import main; main()", "serve"),
            *("--output", str(tmp_path), "--model", saved_models.COLOURS),
            *(f"--port={ports[0]}", f"--rest_api_port={ports[1]}"),
        ],
        cwd=ROOT,
    )
    try:
        wait_until_available(f"http://127.0.0.1:{ports[1]}", saved_models.COLOURS)
        state = requests.get(f"http://127.0.0.1:{ports[1]}/v1/models/{saved_models.COLOURS}")
        assert state.json()["model_version_status"][0]["state"] == "AVAILABLE"
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_serve_says_where_it_found_nothing(tmp_path):
    result = cifar("serve", "--output", str(tmp_path))
    assert result.exit_code == 1
    assert f"{tmp_path}/serving/cifar10 does not exist" in result.output
    assert "`cifar run` pushes a model" in result.output


def test_serve_takes_the_name_of_the_model_from_either_flag(tmp_path):
    for flag in ("--model", "--model_name"):
        result = cifar("serve", "--output", str(tmp_path), f"{flag}=birds")
        assert f"{tmp_path}/serving/birds does not exist" in result.output


def test_serve_lists_every_flag_of_the_server_with_its_default():
    text = cifar("serve", "--help").output
    text = text[text.index("Addresses:") :]
    for field in dataclasses.fields(ServerConfig):
        assert f"--{field.name}" in text, field.name
        if field.metadata["group"] != NO_EFFECT and field.default != "":
            assert "Default:" in text.split(f"--{field.name} ")[1].split("\n  --")[0]
    assert "(TensorFlow Serving: all interfaces)" in " ".join(text.split())


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_predict_asks_the_server_it_is_given(server, image, protocol):
    address = server.rest_url if protocol == "rest" else server.grpc_target
    flags = ["--grpc"] if protocol == "grpc" else []
    options = ["--server", address, "--model", saved_models.COLOURS, "--json"]
    command = finished_runs.cifar("predict", image, *options, *flags)
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert json.loads(result.stdout)["class"] == "ship"
    assert result.stderr == ""  # no output from third parties


def test_predict_wants_images_or_a_sample(image):
    for arguments in ([], [image, "--sample", "3"], [image, "--png", "ten.png"]):
        assert cifar("predict", *arguments).exit_code == 2


def test_predict_in_a_batch_wants_a_place_for_the_results(image, tmp_path):
    output = str(tmp_path / "out")
    assert cifar("predict", "--batch", image).exit_code == 2
    assert cifar("predict", "--output", output).exit_code == 2
    assert cifar("predict", image, "--batch", image, "--output", output).exit_code == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{image} --format csv", "--format needs --batch PATH."),
        ("{image} --model-dir m", "--model-dir needs --batch PATH."),
        ("{image} --runner local", "--runner needs --batch PATH."),
        ("{image} --parallelism 2", "--parallelism needs --batch PATH."),
        ("{image} --seed 3", "--seed needs --sample N."),
        ("{image} --png ten.png", "--png needs --sample N."),
        ("--sample 3 --format csv", "--format needs --batch PATH."),
        ("--batch {image} --output o --png ten.png", "--png needs --sample N."),
        ("--batch {image} --output o --server s:1", "--server has no effect with --batch"),
        ("--batch {image} --output o --grpc", "--grpc has no effect with --batch"),
        (
            "--batch {image} --output o --model-dir m --model birds",
            "--model has no effect with --model-dir; give one of the two.",
        ),
    ],
)
def test_predict_refuses_an_option_that_would_have_no_effect(image, given, message):
    result = cifar("predict", *given.format(image=image).split())
    assert result.exit_code == 2
    assert message in result.output


def test_predict_in_a_batch_finds_a_model_by_its_name(image):
    result = cifar("predict", "--batch", image, "--output", "o", "--model", "birds")
    assert result.exit_code == 1
    assert "output/serving/birds is not a model and has no versions" in result.output


def test_predict_in_a_batch_needs_no_server(models_dir, image, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(image, tmp_path / "in/ship.png")
    (tmp_path / "in/empty.png").touch()
    model, output = models_dir / saved_models.COLOURS, tmp_path / "out"
    command = finished_runs.cifar(
        *("predict", "--batch", tmp_path / "in", "--output", output, "--model-dir", model),
        *("--format", "jsonl"),
    )
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stdout.startswith("Predicted 1 images with version 7 in ")
    assert result.stderr == f"1 images have no prediction; see {output}/failed-*.jsonl.\n"
    (file,) = output.glob("predictions-*.jsonl")
    assert json.loads(file.read_text())["class"] == "ship"


@pytest.mark.parametrize("flags", [[], ["--grpc"]])
def test_predict_says_in_one_line_that_no_server_answers(image, flags):
    address = f"127.0.0.1:{free_port()}"
    result = cifar("predict", image, "--server", address, *flags)
    assert result.exit_code == 1
    assert result.output.endswith(
        f"{address} (Connection refused). `cifar serve` starts one.\n"
    )
    assert result.output.count("\n") == 1


def test_doctor_prints_what_it_found_and_nothing_else(models_dir):
    command = [sys.executable, "-c", "from cli.main import main; main()", "doctor"]
    model = str(models_dir / saved_models.COLOURS)
    result = subprocess.run([*command, model], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.startswith("ok ")
    assert result.stderr == ""


def test_doctor_ends_with_what_it_found(models_dir, tmp_path):
    healthy = cifar("doctor", str(models_dir / saved_models.COLOURS), "--json")
    assert healthy.exit_code == 0
    assert json.loads(healthy.output)["is_healthy"]
    broken = cifar("doctor", str(tmp_path))
    assert broken.exit_code == 1
