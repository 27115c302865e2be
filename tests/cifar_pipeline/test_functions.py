"""`import cifar_pipeline`, on the folder of two real runs."""

import subprocess
import sys

import pytest

import cifar_pipeline
from serving import sample_predictions
from tests.serving.test_client import encoded


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, cifar_pipeline\n"
        "print([name for name in ('tensorflow', 'tfx', 'pandas') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout == b"[]\n"


def test_every_function_is_documented_and_typed():
    assert len(cifar_pipeline.__all__) == 5
    for name in cifar_pipeline.__all__:
        function = getattr(cifar_pipeline, name)
        assert function.__doc__
        assert "return" in function.__annotations__


def test_runs_are_listed_and_loaded_by_their_names(output, pushed, refused):
    first, second = cifar_pipeline.list_runs(output)[:2]
    assert [first.status, second.status] == ["pushed", "not_blessed"]
    assert cifar_pipeline.load_run(first.run_id, output) == first
    assert cifar_pipeline.load_run(pushed.record["pushed_version"], output) == first
    with pytest.raises(FileNotFoundError, match="1999"):
        cifar_pipeline.load_run("1999", output)


def test_predictions_are_those_of_the_gate(output, pushed, tmp_path):
    """The same share of the test images is right as the Evaluator measured."""
    from PIL import Image

    run = cifar_pipeline.load_run(pushed.record["run_id"], output)
    drawn = sample_predictions.draw(200, seed=0, data_dir=tmp_path)
    for number, image in enumerate(drawn):
        Image.fromarray(image.pixels).save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(len(drawn))]
    answers = cifar_pipeline.predict(paths, run)
    right = sum(a.class_name == d.true_class for a, d in zip(answers, drawn, strict=True))
    assert right / len(drawn) == pytest.approx(pushed.record["accuracy"], abs=1e-6)


def test_what_is_no_image_is_named(output, pushed, tmp_path):
    run = cifar_pipeline.load_run(pushed.record["run_id"], output)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"notes\.txt: not an image"):
        cifar_pipeline.predict([encoded((1, 2, 3)), tmp_path / "notes.txt"], run)


def test_a_run_that_pushed_nothing_has_no_predictions(output, refused):
    run = cifar_pipeline.load_run(refused.record["run_id"], output)
    with pytest.raises(FileNotFoundError, match=refused.record["run_id"]):
        cifar_pipeline.predict([encoded((1, 2, 3))], run)


def test_runs_are_compared_in_a_table(output, pushed, refused):
    first, second = cifar_pipeline.list_runs(output)[:2]
    table = cifar_pipeline.compare(first, second)
    assert list(table.columns) == [first.run_id, second.run_id]
    assert table.loc[("numbers", "accuracy")].tolist() == [first.accuracy, second.accuracy]
    assert table.loc[("settings", "train_steps")].tolist() == [60, 40]
    assert ("settings", "learning_rate") not in table.index
    assert table.loc[("accuracy on class", "ship")].notna().all()
    with pytest.raises(ValueError, match="at least two runs"):
        cifar_pipeline.compare(first)


def test_a_setting_or_a_preset_that_is_not_there_starts_nothing(tmp_path):
    with pytest.raises(ValueError, match="Did you mean train_steps"):
        cifar_pipeline.run("smoke", output=tmp_path / "out", train_step=3)
    with pytest.raises(ValueError, match="Did you mean smoke"):
        cifar_pipeline.run("smok", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
