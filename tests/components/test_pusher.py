"""What the Pusher records of a version, executed as TFX does."""

import json
from pathlib import Path

from google.protobuf import json_format
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts

from components import pusher
from contract import data_facts, gate_record, image_set
from contract.data_facts import DataFacts
from contract.gate_record import GateRecord
from serving import model_registry


def test_a_version_knows_the_eval_it_was_judged_on_from_the_schema(tmp_path):
    made = {
        name: kind()
        for name, kind in (
            ("model", standard_artifacts.Model),
            ("model_blessing", standard_artifacts.ModelBlessing),
            ("statistics", standard_artifacts.ExampleStatistics),
            ("schema", standard_artifacts.Schema),
            ("baseline_model", standard_artifacts.Model),
            ("pushed_model", standard_artifacts.PushedModel),
        )
    }
    for name, artifact in made.items():
        artifact.uri = str(tmp_path / name)
        Path(artifact.uri).mkdir()
    (tmp_path / "model/Format-Serving").mkdir()
    (tmp_path / "model/Format-Serving/saved_model.pb").write_bytes(b"graph")
    made["model_blessing"].set_int_custom_property("blessed", 1)
    gate_record.write(made["model_blessing"].uri, GateRecord(0.9, 200))
    data_facts.write(made["statistics"].uri, DataFacts({}, 0))
    made["schema"].set_string_custom_property(image_set.EVAL_FINGERPRINT, "of eval")
    serving = tmp_path / "serving/cifar10"
    destination = pusher_pb2.PushDestination(
        filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(serving))
    )
    custom_config = {
        "keep_versions": 3,
        "baseline_rule": "best",
        "training_fingerprint": "training",
        "data_fingerprint": "data",
    }
    pushed_model = made.pop("pushed_model")
    pusher.Executor().Do(
        {name: [artifact] for name, artifact in made.items()},
        {"pushed_model": [pushed_model]},
        {
            "push_destination": json_format.MessageToJson(destination),
            "custom_config": json.dumps(custom_config),
        },
    )
    (version,) = model_registry.pushed_versions(serving)
    assert version.provenance.eval_fingerprint == "of eval"
    assert version.provenance.accuracy == 0.9
