"""`cifar kubeflow …`. Heavy modules are imported by the command that needs them."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.command_help import examples, preset_option, trainer_module_option
from contract import estimator, imports
from pipeline_def.config import PipelineConfig, find_preset


@click.group()
def kubeflow() -> None:
    """Run the pipeline on Kubeflow Pipelines 2.x."""


@kubeflow.command(
    "compile",
    epilog=examples(
        "cifar kubeflow compile --image REGISTRY/cifar:1",
        "cifar kubeflow compile --image REGISTRY/cifar:1 --cluster kubeflow/cluster.yaml",
        "cifar kubeflow compile --image REGISTRY/flowers:1 --trainer-module my_team.flowers",
        "cifar kubeflow compile --image REGISTRY/cifar:1 --drift --output drift.yaml",
    ),
)
@click.option(
    "--image",
    required=True,
    help="The image that the steps run in, built from kubeflow/Dockerfile.",
)
@preset_option("The default of the parameter `preset`.")
@trainer_module_option
@click.option(
    "--data",
    default="sample",
    show_default=True,
    metavar="sample|DIR",
    help="The default of the parameter `data`; DIR is a folder on the volume.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change one field of the preset for every run; can be repeated.",
)
@click.option(
    "--pipeline-root",
    default="",
    metavar="URI",
    help="Where to put artifacts: minio://, s3:// or gs://. [default: the installation's own]",
)
@click.option(
    "--cluster",
    "cluster_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Volume, resources, secrets and tolerations, as in kubeflow/cluster.yaml.",
)
@click.option(
    "--drift",
    is_flag=True,
    help="Instead, the pipeline that compares logged requests with the training data.",
)
@click.option(
    "--output",
    default="pipeline.yaml",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.",
)
def compile_command(
    image: str,
    preset: str,
    trainer_module: str,
    data: str,
    settings: tuple[str, ...],
    pipeline_root: str,
    cluster_file: Path | None,
    drift: bool,
    output: Path,
) -> None:
    """Write the pipeline as YAML, without a cluster or Docker.

    The command fails on everything that the backend would reject.
    """
    from contract import terminal
    from kubeflow.cluster import Cluster, read_cluster

    cluster = read_cluster(cluster_file) if cluster_file else Cluster()
    imports.silence()
    if drift and (preset or data != "sample" or trainer_module != estimator.DEFAULT):
        raise click.UsageError(
            "--drift takes no --preset, no --trainer-module and no --data; nothing is trained."
        )
    try:
        found = find_preset(preset, trainer_module)
        settings = (*settings_beyond(found), *settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from kubeflow.compile import compile_drift, compile_pipeline, write_yaml
    from kubeflow.parameters import RunParameters

    if drift:
        documents = compile_drift(image, cluster, settings, pipeline_root)
    else:
        defaults = RunParameters(
            preset=found.preset, data=data, push_destination=f"{cluster.mount_path}/serving"
        )
        documents = compile_pipeline(
            image, cluster, defaults, settings, pipeline_root, found.trainer_module
        )
    write_yaml(documents, output)
    root = documents[0]["root"]
    terminal.say(
        f"Wrote {output}: {len(root['dag']['tasks'])} steps of {image}, parameters "
        f"{', '.join(root['inputDefinitions']['parameters'])}"
    )


def settings_beyond(config: PipelineConfig) -> list[str]:
    """Returns what a preset file changes in the preset that it names, as `--set` takes it."""
    named = find_preset(config.preset, config.trainer_module).as_record()
    return [
        f"{name}={value}" for name, value in config.as_record().items() if value != named[name]
    ]


def server_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that say where the API is, and hands the command a client."""

    @click.option(
        "--server",
        "url",
        default="http://localhost:8888",
        show_default=True,
        metavar="URL",
        help="The API of Kubeflow Pipelines.",
    )
    @click.option("--namespace", default="", help="The namespace in a multi-user installation.")
    @click.option(
        "--token-file",
        type=click.Path(exists=True, dir_okay=False),
        help="A file with a bearer token, which is read for each request.",
    )
    @click.option(
        "--header",
        "headers",
        multiple=True,
        metavar="NAME=VALUE",
        help="A header to send with each request; can be repeated.",
    )
    @click.option(
        "--timeout-seconds",
        default=30.0,
        show_default=True,
        help="The time limit of one request.",
    )
    @click.option(
        "--retries",
        default=5,
        show_default=True,
        help="Retries of requests that are safe to repeat.",
    )
    @functools.wraps(command)
    def wrapped(
        url: str,
        namespace: str,
        token_file: str | None,
        headers: tuple[str, ...],
        timeout_seconds: float,
        retries: int,
        **options: Any,
    ) -> None:
        from kubeflow.submit import Client, Server

        pairs = dict(header.partition("=")[::2] for header in headers)
        server = Server(url, namespace, token_file or "", pairs, timeout_seconds, retries)
        command(connect=lambda: Client(server), **options)

    return wrapped


def watch_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of watching a run."""
    for option in (
        click.option(
            "--poll-seconds",
            default=5.0,
            show_default=True,
            help="The time between two looks at the run.",
        ),
        click.option(
            "--timeout-minutes", default=0.0, help="When to stop watching; 0 is never."
        ),
    ):
        command = option(command)
    return command


@kubeflow.command(
    epilog=examples(
        "cifar kubeflow submit pipeline.yaml --watch",
        "cifar kubeflow submit pipeline.yaml -p preset=reference --schedule '0 0 3 * * *'",
    )
)
@click.argument("pipeline", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-p",
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the run; can be repeated.",
)
@click.option(
    "--experiment",
    default="cifar10",
    show_default=True,
    help="The experiment of the run; created if necessary.",
)
@click.option(
    "--name", default="cifar10", show_default=True, help="The name of the run or schedule."
)
@click.option(
    "--version", default="", help="The name of the version. [default: derived from its content]"
)
@click.option(
    "--pipeline-root",
    default="",
    metavar="URI",
    help="Where to put artifacts. [default: that of the compiled pipeline]",
)
@click.option("--service-account", default="", help="The service account of the steps.")
@click.option(
    "--watch", is_flag=True, help="Wait for the run to end; exit code 1 unless it succeeds."
)
@click.option(
    "--schedule",
    default="",
    metavar="CRON",
    help="Start runs on this schedule; replaces the schedule called --name.",
)
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
@watch_options
@server_options
def submit(
    connect: Callable[[], Any],
    pipeline: Path,
    parameters: tuple[str, ...],
    experiment: str,
    name: str,
    version: str,
    pipeline_root: str,
    service_account: str,
    watch: bool,
    schedule: str,
    json_output: bool,
    poll_seconds: float,
    timeout_minutes: float,
) -> None:
    """Upload PIPELINE if necessary, and start a run or a schedule."""
    from contract import terminal
    from kubeflow.submit import check_cron, read_parameters

    values = read_parameters(pipeline, parameters)
    if schedule:
        check_cron(schedule)
    client = connect()
    uploaded = client.upload(pipeline, version)
    what = (uploaded, client.find_or_make_experiment(experiment), values)
    where = {"pipeline_root": pipeline_root, "service_account": service_account}
    made = {"pipeline_id": uploaded[0], "pipeline_version_id": uploaded[1]}
    if schedule:
        made["recurring_run_id"], replaced = client.schedule(name, schedule, *what, **where)
        if replaced:
            made["replaced"] = " ".join(replaced)
    else:
        made["run_id"] = client.start_run(name, *what, **where)
    if json_output:
        click.echo(json.dumps(made))
    else:
        terminal.say(*(f"{key:<20} {value}" for key, value in made.items()))
    if watch and not schedule:
        watch_to_the_end(client, made["run_id"], poll_seconds, timeout_minutes)


@kubeflow.command("watch", epilog=examples("cifar kubeflow watch RUN_ID"))
@click.argument("run_id")
@watch_options
@server_options
def watch_command(
    connect: Callable[[], Any], run_id: str, poll_seconds: float, timeout_minutes: float
) -> None:
    """Show the steps of a run until it ends.

    Exit code 1 unless it succeeds.
    """
    watch_to_the_end(connect(), run_id, poll_seconds, timeout_minutes)


@kubeflow.command(epilog=examples("cifar kubeflow terminate RUN_ID"))
@click.argument("run_id")
@server_options
def terminate(connect: Callable[[], Any], run_id: str) -> None:
    """Stop a run."""
    connect().terminate(run_id)
    click.echo(f"The run {run_id} is stopping.")


@kubeflow.command(epilog=examples("cifar kubeflow clean /mnt/cifar10 --keep 10 --dry-run"))
@click.argument("volume", type=click.Path(path_type=Path))
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=PipelineConfig.keep_runs,
    show_default=True,
    metavar="N",
    help="How many of the newest trainings, and of the newest searches, to keep.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
def clean(volume: Path, keep: int, dry_run: bool) -> None:
    """Delete old trainings and searches, and what killed steps left, from a volume.

    VOLUME is the volume that the steps share. Trainings and searches of pushed versions stay,
    as do those that a step is still using.
    """
    from contract import terminal
    from kubeflow import volume as kubeflow_volume

    terminal.say(kubeflow_volume.clean(volume, keep, dry_run).in_words(dry_run))


def watch_to_the_end(
    client: Any, run_id: str, poll_seconds: float, timeout_minutes: float
) -> None:
    """Shows what the steps do, and exits with 1 unless the run succeeds."""
    from contract import terminal

    state = client.watch(run_id, terminal.say, poll_seconds, timeout_minutes * 60)
    if state != "SUCCEEDED":
        sys.exit(1)
