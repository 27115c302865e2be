"""The console script `cifar`. Heavy modules are imported by the command that needs them."""

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option("0.1.0", prog_name="cifar")
def main() -> None:
    """CIFAR-10 batches in, a gated, versioned classifier for TensorFlow Serving out."""
