"""The runner options of the command line, read by Beam's own parser."""

import json
from pathlib import Path

import pytest
from apache_beam.options import pipeline_options

from pipeline_def.beam import cluster, runner


def options(chosen: runner.Runner) -> dict:
    return pipeline_options.PipelineOptions(list(chosen.arguments)).get_all_options(
        drop_default=True, retain_unknown_options=True
    )


def test_local_is_this_process_until_several_are_asked_for():
    assert runner.choose("local").arguments == ()
    assert runner.choose("local", parallelism=1).arguments == ()
    assert options(runner.choose("local", parallelism=3)) == {
        "runner": "pipeline_def.beam.processes.Processes",
        "direct_num_workers": 3,
    }


@pytest.mark.parametrize("engine", runner.ENGINES)
def test_an_engine_gets_a_job_from_its_job_server(engine):
    chosen = runner.choose(engine, "jobs.example:8099", 8)
    given = options(chosen)
    assert chosen.job_server == given["job_endpoint"] == "jobs.example:8099"
    assert given["parallelism"] == 8
    assert "pre_optimize=all" in given["experiments"]
    command = json.loads(given["environment_config"])["command"]
    assert Path(command).is_file()  # it is installed with the project


def test_beam_arguments_are_taken_as_they_are():
    chosen = runner.choose("--runner=PortableRunner --job_endpoint localhost:1 --x='a b'")
    assert chosen.arguments == (
        "--runner=PortableRunner",
        "--job_endpoint",
        "localhost:1",
        "--x=a b",
    )
    assert chosen.job_server == "localhost:1"
    assert (
        runner.choose("--runner=PortableRunner --job_endpoint=[::1]:2").job_server == "[::1]:2"
    )
    assert runner.choose("--runner=DirectRunner --x=dataflow").job_server == ""


def test_flink_on_kubernetes_asks_the_pools_for_workers():
    given = options(runner.flink_with_pools("jobs:8099", "http://rest:8081", 3, "run-Node"))
    assert given["job_endpoint"] == "jobs:8099"
    assert (given["parallelism"], given["job_name"]) == (3, "run-Node")
    assert given["environment_type"] == "EXTERNAL"
    assert given["environment_config"] == f"localhost:{runner.POOL_PORT}"


@pytest.mark.parametrize(
    ("name", "url", "parallelism", "message"),
    [
        ("local", "jobs.example:8099", None, "--runner-url is for an engine"),
        (
            "dask",
            "",
            None,
            "--runner must be local, flink, spark, or .* got 'dask'",
        ),
        ("--runner=PortableRunner", "", 2, "omit --runner-url and --parallelism"),
        ("dataflow", "", None, "^Dataflow cannot run this pipeline: .* Use flink or local"),
        ("--runner DataflowRunner --project=p", "", None, "^Dataflow cannot run"),
    ],
)
def test_a_choice_that_is_none_is_refused(name, url, parallelism, message):
    with pytest.raises(ValueError, match=message):
        runner.choose(name, url, parallelism)


def test_the_flink_of_this_machine_gets_no_more_tasks_than_it_has_slots(monkeypatch):
    monkeypatch.setattr(cluster, "find", cluster.Cluster)
    given = options(runner.choose("flink"))
    assert given["parallelism"] == 2
    assert given["environment_config"] == "127.0.0.1:8102"
    with pytest.raises(ValueError, match=r"has 2 task slots, .* must be at most 2, got 3"):
        runner.choose("flink", parallelism=3)
