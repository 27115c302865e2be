"""`cifar beam`: what a Beam engine needs of us on its machines."""

import threading

import click

from cli.command_help import examples


@click.group()
def beam() -> None:
    """Serve a Beam engine, such as Flink, on its machines."""


@beam.command("worker-pool", epilog=examples("cifar beam worker-pool --port 50000"))
@click.option("--port", default=50_000, show_default=True, help="On 127.0.0.1 alone.")
def worker_pool(port: int) -> None:
    """Start workers whenever an engine on this machine asks, until stopped.

    For runs with --environment_type=EXTERNAL --environment_config=localhost:PORT, where the
    engine cannot start `cifar-beam-worker` itself: in the pods of a Flink cluster.
    """
    from pipeline_def.beam import worker_pool

    with worker_pool.serve(port) as address:
        click.echo(f"Starts workers for who asks at {address}.")
        threading.Event().wait()
