"""The stage that predicts with the model a run pushed, executed as TFX does."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tfx.types import standard_artifacts

from components import bulk_inferrer
from serving.batch import record, sources
from tests.conftest import CLASS_COLOURS
from tests.serving.test_client import encoded


@pytest.fixture
def inbox(tmp_path) -> Path:
    """A frog, a ship, and what is no picture."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for name, class_id in (("a.png", 6), ("b.png", 8)):
        (folder / name).write_bytes(encoded(CLASS_COLOURS[class_id], (90, 50), "PNG"))
    (folder / "c.png").write_text("no picture")
    return folder


def infer(folder: Path, models_dir: Path, inbox: Path, digest: str = "", pushed: int = 1):
    """Runs the executor; returns its artifact."""
    made = {
        name: kind()
        for name, kind in (
            ("model", standard_artifacts.Model),
            ("pushed_model", standard_artifacts.PushedModel),
            ("inference_result", standard_artifacts.InferenceResult),
        )
    }
    for name, artifact in made.items():
        artifact.uri = str(folder / name)
    shutil.copytree(models_dir / "colours/7", folder / "model/Format-Serving")
    Path(made["inference_result"].uri).mkdir()
    made["pushed_model"].set_int_custom_property("pushed", pushed)
    bulk_inferrer.Executor().Do(
        {name: [made[name]] for name in ("model", "pushed_model")},
        {"inference_result": [made["inference_result"]]},
        {"input": str(inbox), "input_digest": digest},
    )
    return made["inference_result"]


def test_pictures_are_predicted_and_bad_ones_listed(tmp_path, models_dir, inbox):
    digest = sources.digest(sources.find(inbox))
    result = infer(tmp_path, models_dir, inbox, digest)
    (file,) = Path(result.uri).glob("predictions-*.parquet")
    rows = pq.read_table(file).to_pylist()
    assert [(Path(row["image"]).name, row["class"]) for row in rows] == [
        ("a.png", "frog"),
        ("b.png", "ship"),
    ]
    (failed,) = Path(result.uri).glob("failed-*.jsonl")
    assert "c.png" in failed.read_text()
    found = record.read(Path(result.uri))
    assert (found.images, found.failed, found.status) == (2, 1, "done")
    assert (found.input, found.input_digest) == (str(inbox), digest)
    assert result.get_int_custom_property("inferred") == 1


def test_a_model_that_is_not_pushed_predicts_nothing(tmp_path, models_dir, inbox):
    result = infer(tmp_path, models_dir, inbox, pushed=0)
    assert [*Path(result.uri).iterdir()] == []
    assert result.get_int_custom_property("inferred") == 0


def test_files_that_changed_during_the_run_are_refused(tmp_path, models_dir, inbox):
    digest = sources.digest(sources.find(inbox))
    (inbox / "d.png").write_bytes((inbox / "a.png").read_bytes())
    with pytest.raises(ValueError, match="inbox changed since the run began"):
        infer(tmp_path, models_dir, inbox, digest)
