"""`cifar beam` on a machine where no cluster runs."""

from click.testing import CliRunner

from cli.main import main
from pipeline_def.beam import cluster


def beam(folder, *arguments: str):
    environment = {cluster.FOLDER_VARIABLE: str(folder)}
    return CliRunner().invoke(main, ["beam", *arguments], env=environment)


def test_status_names_each_engine(tmp_path):
    result = beam(tmp_path, "status")
    assert result.exit_code == 0
    assert result.output == "flink does not run.\nspark does not run.\n"


def test_stop_is_no_error_when_nothing_runs(tmp_path):
    result = beam(tmp_path, "stop", "spark")
    assert result.exit_code == 0
    assert result.output == "spark was not running.\n"


def test_an_engine_that_does_not_exist_is_refused(tmp_path):
    result = beam(tmp_path, "start", "dask")
    assert result.exit_code == 2
    assert "'dask' is not one of 'flink', 'spark'" in result.output
