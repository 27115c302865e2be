"""The Beam stages on a real Spark: a Master, two Workers, and Beam's job server."""

import re
from pathlib import Path

import apache_beam as beam
import pytest

from pipeline_def.beam import runner
from pipeline_def.beam.job import Job
from tests.pipeline_def.engine.comparison import assert_equal_results, run
from tests.pipeline_def.engine.test_flink import (
    assert_same_examples_after_a_kill,
    listening_addresses,
    on,
    workers,
)
from tests.processes import wait_until


@pytest.fixture(scope="module")
def spark_run(tmp_path_factory, spark) -> dict:
    return run(tmp_path_factory.mktemp("spark") / "output", *on(spark))


def test_the_results_are_those_of_a_local_run(local_run, spark_run):
    assert_equal_results(local_run, spark_run)


def test_two_executors_had_workers(spark_run):
    log = Path(spark_run["log"]).read_text()
    assert len(set(re.search(r"2 answered: \S+:(\d+), \S+:(\d+)", log).groups())) == 2


def test_no_worker_outlives_its_job_for_long(spark, spark_run):
    wait_until(lambda: not workers(spark))


def test_a_worker_killed_in_the_middle_of_a_write_changes_nothing(spark, cifar_dir, tmp_path):
    assert_same_examples_after_a_kill(spark, cifar_dir, tmp_path)


def test_an_error_in_a_worker_ends_the_job_with_its_message(spark):
    def fail(number: int) -> None:
        raise ValueError(f"Record {number} is broken.")

    arguments = runner.choose("spark", spark.job_server, 2).arguments
    with (
        pytest.raises(RuntimeError, match=r"^Record 1 is broken\.$"),
        Job(list(arguments)) as job,
    ):
        job | beam.Create([1]) | beam.Map(fail)


def test_it_listens_on_the_loopback_address_alone(spark, spark_run):
    assert listening_addresses(spark) == {"127.0.0.1"}
