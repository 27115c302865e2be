"""`cifar beam`: what a Beam engine needs of us on its machines."""

import threading

import click

from cli.command_help import examples


@click.group()
def beam() -> None:
    """Run workers for a Beam engine, such as Flink, on its machines."""


@beam.command("worker-pool", epilog=examples("cifar beam worker-pool --port 50000"))
@click.option("--port", default=50_000, show_default=True, help="The port on 127.0.0.1.")
def worker_pool(port: int) -> None:
    """Start workers when an engine on this machine requests them, until stopped.

    For runs with --environment_type=EXTERNAL --environment_config=localhost:PORT, if the engine
    cannot start `cifar-beam-worker` itself, as in the pods of a Flink cluster.
    """
    from pipeline_def.beam import worker_pool

    with worker_pool.serve(port) as address:
        click.echo(f"Waiting for requests for workers at {address}.")
        threading.Event().wait()
