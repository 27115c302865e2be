"""The examples that CifarExampleGen writes on a Beam runner."""

from pathlib import Path

from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from components.example_gen import CifarExampleGen, Executor
from data_sources.options import DEFAULT_OPTIONS
from pipeline_def.beam import job, runner


def generate(data: Path, output: Path, chosen: runner.Runner) -> dict[str, bytes]:
    """Returns the shards of every split by `Split-<name>/<file>`."""
    context = BaseBeamExecutor.Context(
        make_beam_pipeline_fn=lambda: job.Job(list(chosen.arguments))
    )
    node = CifarExampleGen(str(data), "fingerprint", {}, DEFAULT_OPTIONS)
    examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
    examples.uri, schema.uri = str(output), f"{output}-schema"
    Path(schema.uri).mkdir()
    artifacts = {"examples": [examples], "schema": [schema]}
    Executor(context).Do({}, artifacts, dict(node.exec_properties))
    files = sorted(output.glob("Split-*/*"))
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}
