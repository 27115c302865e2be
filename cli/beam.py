"""`cifar beam`: Beam engines on this machine, and what others need of us on theirs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.command_help import examples
from contract import stopping
from pipeline_def.beam import cluster as clusters
from pipeline_def.beam import runner


@click.group()
def beam() -> None:
    """Run Flink or Spark on this machine, or workers for an engine elsewhere."""


def engine_and_folder(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the argument ENGINE and the option --folder to a command."""
    return click.argument("engine", type=click.Choice(runner.ENGINES))(folder_option(command))


def folder_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --folder to a command."""
    return click.option(
        "--folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=clusters.DEFAULT_FOLDER,
        show_default=True,
        envvar=clusters.FOLDER_VARIABLE,
        show_envvar=True,
        metavar="DIR",
        help="Where the engines are.",
    )(command)


@beam.command(epilog=examples("cifar beam install flink"))
@engine_and_folder
def install(engine: str, folder: Path) -> None:
    """Download Flink or Spark and Beam's job server with Maven, and check their SHA-256.

    Needs Maven and a JDK, 11 or 17.
    """
    from contract import terminal
    from pipeline_def.beam import engine_jars

    new = engine_jars.install(engine, folder)
    jars = engine_jars.jars_of(engine, folder)
    terminal.say(f"{'Installed' if new else 'Already installed:'} {engine} in {jars}.")


@beam.command(epilog=examples("cifar beam start flink", "cifar run --runner flink"))
@engine_and_folder
@click.option(
    "--port",
    type=click.IntRange(1024, 65_532),
    help="The job server's port on 127.0.0.1; engine and workers take the next three.  "
    "[default: "
    + ", ".join(f"{port} for {name}" for name, port in clusters.PORTS.items())
    + "]",
)
def start(engine: str, folder: Path, port: int | None) -> None:
    """Start a cluster with two workers on this machine, for `cifar run --runner ENGINE`."""
    from contract import terminal

    cluster = clusters.Cluster(engine, folder, port or 0)
    new = clusters.start(cluster)
    terminal.say(f"{'Started' if new else 'Already running:'} {engine}. {describe(cluster)}")


@beam.command(epilog=examples("cifar beam stop flink"))
@engine_and_folder
def stop(engine: str, folder: Path) -> None:
    """End a cluster of this machine, with everything it has started."""
    cluster = clusters.Cluster(engine, folder)
    click.echo(f"{engine} {'stopped' if clusters.stop(cluster) else 'was not running'}.")


@beam.command(epilog=examples("cifar beam status"))
@folder_option
def status(folder: Path) -> None:
    """Show which clusters of this machine run, and their processes."""
    from contract import terminal

    for engine in runner.ENGINES:
        processes = clusters.running(clusters.Cluster(engine, folder))
        if not processes:
            click.echo(f"{engine} does not run.")
            continue
        cluster = clusters.Cluster(engine, folder, processes[0].port)
        complete = clusters.is_complete(cluster, processes)
        state = "runs" if complete else "is incomplete; `cifar beam start` completes it"
        terminal.say(f"{engine} {state}. {describe(cluster)}")
        for process in processes:
            click.echo(f"  {process.name:<14} pid {process.pid}")


def describe(cluster: clusters.Cluster) -> str:
    """Returns where a cluster is reached."""
    return f"Job server {cluster.job_server}, web page {cluster.web_page}"


@beam.command("worker-pool", epilog=examples("cifar beam worker-pool --port 50000"))
@click.option(
    "--port", default=runner.POOL_PORT, show_default=True, help="The port on 127.0.0.1."
)
def worker_pool(port: int) -> None:
    """Start workers when a local engine requests them.

    The command runs until it is stopped. It is for runs with --environment_type=EXTERNAL
    --environment_config=localhost:PORT, as in the pods of a Flink cluster. Its workers need no
    time to import TensorFlow and TFX, as those do that an engine starts by
    `cifar-beam-worker`.
    """
    from pipeline_def.beam import worker_pool

    with worker_pool.serve(port) as pool, stopping.Alarm() as alarm:
        click.echo(f"Waiting for requests for workers at {pool.address}.")
        alarm.wait()
