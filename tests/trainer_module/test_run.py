import shutil

import pytest
import tensorflow as tf
import tensorflow_transform as tft

from contract import example_files, features, training_record
from tests.trainer_module.conftest import TINY, write_transform_graph
from trainer_module import preprocessing, run, training


def test_a_failed_export_says_that_the_training_is_safe(make_fn_args, trained_dir, tmp_path):
    shutil.copytree(trained_dir / "checkpoints", tmp_path / "checkpoints")
    (tmp_path / "model").write_text("in the way")
    with pytest.raises(
        RuntimeError,
        match=rf"could not be exported to {tmp_path}/model/.*kept in .*checkpoints",
    ):
        run.run_fn(make_fn_args(TINY, tmp_path))


def test_finished_training_is_only_exported_again(make_fn_args, trained_dir, tmp_path):
    shutil.copytree(trained_dir / "checkpoints", tmp_path / "checkpoints")
    before = {path: path.stat().st_mtime for path in (tmp_path / "checkpoints").glob("model*")}
    run.run_fn(make_fn_args(TINY, tmp_path))
    after = {path: path.stat().st_mtime for path in (tmp_path / "checkpoints").glob("model*")}
    assert after == before
    assert (tmp_path / "model" / "Format-Serving" / "saved_model.pb").exists()
    records = [training_record.read(str(d / "model_run")) for d in (tmp_path, trained_dir)]
    assert records[0] == records[1]


def test_a_transform_graph_of_other_code_is_refused(examples_dir, tmp_path):
    def off_by_one(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        shifted = preprocessing.decode(raw[features.IMAGE], 32)[:, 5:29, 4:28]
        standardized = preprocessing.standardize(shifted)
        return {
            preprocessing.STANDARDIZED_IMAGE: standardized,
            features.LABEL: raw[features.LABEL],
        }

    write_transform_graph(off_by_one, tmp_path)
    examples = example_files.read_first(
        example_files.find([str(examples_dir / "eval" / "*")]), 4
    )
    with pytest.raises(RuntimeError, match="disagree by up to"):
        training.check_no_skew(
            tft.TFTransformOutput(str(tmp_path)), 32, examples, preprocessing.prepare
        )
