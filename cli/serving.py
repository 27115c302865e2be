"""`cifar serve`, `cifar predict`, `cifar doctor`. Heavy modules wait until a command runs."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from cli.command_help import examples, runner_options
from contract import imports
from pipeline_def.beam.runner import Runner
from pipeline_def.config import PipelineConfig

# The options of `cifar predict` that one way of predicting takes, by their names in the code.
BATCH_OPTIONS = ("format_name", "model_dir", "runner_name", "runner_url", "parallelism")
SERVER_OPTIONS = ("server", "by_grpc")
SAMPLE_OPTIONS = ("seed", "png")

PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True}


class ServeCommand(click.Command):
    """A command whose help lists the server's flags, which it passes on."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples, then the flags."""
        from serving.model_server import command_line

        super().format_epilog(ctx, formatter)
        formatter.write(f"\n{command_line.help_text()}")


@click.command(
    cls=ServeCommand,
    context_settings=PASSED_ON,
    epilog=examples("cifar serve", "cifar serve --rest_api_port=9000 --enable_batching"),
)
@click.option(
    "--output", default="output", show_default=True, metavar="DIR", help="The output folder."
)
@click.option(
    "--model",
    "--model_name",
    default="cifar10",
    show_default=True,
    help="The name of the model.",
)
@click.pass_context
def serve(context: click.Context, output: str, model: str) -> None:
    """Serve the pushed model over gRPC and REST.

    The protocol and the flags are those of TensorFlow Serving. The server loads new versions as
    they are pushed. It listens on 127.0.0.1, with gRPC on port 8500 and REST on port 8501, as
    soon as the model is loaded.
    """
    given = {flag.split("=")[0] for flag in context.args}
    flags = [*context.args, f"--model_name={model}"]
    if not given & {"--model_config_file", "--model_base_path", "--version"}:
        folder = Path(output) / "serving" / model
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder} does not exist: nothing has been pushed there. `cifar run` pushes "
                "a model; --output says where to look."
            )
        flags.append(f"--model_base_path={folder.resolve()}")
    imports.silence()
    from serving.model_server.__main__ import run

    run(flags)


@click.command(
    epilog=examples(
        "cifar predict cat.png holiday/     # files, and every image in a folder",
        "curl -s URL | cifar predict -      # an image from standard input",
        "cifar predict --sample 10 --png ten.png",
        "cifar predict --batch holiday/ --output predictions   # no server needed",
    )
)
@click.argument("images", nargs=-1, metavar="[IMAGE|FOLDER|-]…")
@click.option(
    "--server",
    metavar="ADDRESS",
    help="The model server. [default: port 8501 of this machine, or 8500 with --grpc]",
)
@click.option("--grpc", "by_grpc", is_flag=True, help="Use gRPC instead of REST.")
@click.option("--model", default="cifar10", show_default=True, help="The name of the model.")
@click.option(
    "--sample", type=click.IntRange(1), metavar="N", help="Classify N random test images."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The seed for --sample.")
@click.option(
    "--png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --sample: write the images with their true and predicted classes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per image.")
@click.option(
    "--batch",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Predict a whole folder or file without a server: pictures, CIFAR batches, or "
    "TFRecord files of tf.Examples.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="With --batch: where to write the predictions. Repeat a stopped command to continue.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["parquet", "csv", "jsonl", "prediction-log"]),
    default="parquet",
    show_default=True,
    help="With --batch: the format of the predictions.",
)
@click.option(
    "--model-dir",
    type=click.Path(path_type=Path),
    help="With --batch: a version, or a folder of versions; the newest one predicts. "
    "[default: output/serving/ and the name of the model]",
)
@runner_options
@click.pass_context
def predict(
    context: click.Context,
    images: tuple[str, ...],
    server: str | None,
    by_grpc: bool,
    model: str,
    sample: int | None,
    seed: int,
    png: Path | None,
    as_json: bool,
    batch: Path | None,
    output: Path | None,
    format_name: str,
    model_dir: Path | None,
    beam_runner: Runner,
) -> None:
    """Classify images, with or without a model server.

    A model server takes PNG, JPEG, BMP and GIF files of any size. With --batch, Beam runs the
    SavedModel directly and writes the predictions to files.
    """
    if bool(images) + bool(sample) + bool(batch) != 1:
        raise click.UsageError("Give either images, --sample N or --batch PATH.")
    if bool(batch) != bool(output):
        raise click.UsageError("--batch PATH and --output DIR go together; give both.")
    if not batch:
        _refuse(context, BATCH_OPTIONS, "needs --batch PATH")
    if not sample:
        _refuse(context, SAMPLE_OPTIONS, "needs --sample N")
    if batch and output:
        _refuse(context, SERVER_OPTIONS, "has no effect with --batch, which asks no server")
        if model_dir:
            _refuse(context, ("model",), "has no effect with --model-dir; give one of the two")
        model_dir = model_dir or Path("output/serving") / model
        sys.exit(_predict_batch(batch, output, model_dir, format_name, beam_runner, as_json))
    imports.silence()  # gRPC's stubs import TensorFlow
    from serving import client, predict, sample_predictions

    kind = client.GrpcClient if by_grpc else client.RestClient
    asked = kind(server, model) if server else kind(model=model)
    if not sample:
        sys.exit(predict.run(asked, images, as_json))
    drawn = sample_predictions.draw(sample, seed, Path(PipelineConfig().data_dir))
    answers = sample_predictions.ask(asked, drawn)
    sample_predictions.show(answers, as_json)
    if png:
        sample_predictions.write_picture(answers, png)


def _refuse(context: click.Context, names: Sequence[str], why: str) -> None:
    """Raises UsageError if one of some options was given."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in names and source == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option.opts[0]} {why}.")


def _predict_batch(
    path: Path,
    output: Path,
    model_dir: Path,
    format_name: str,
    beam_runner: Runner,
    as_json: bool,
) -> int:
    """Predicts, prints the answers and returns the exit code: 1 if an image failed."""
    imports.silence()
    from contract import records, terminal
    from pipeline_def import batch_prediction

    record = batch_prediction.run(path, output, model_dir, format_name, beam_runner)
    if as_json:
        click.echo(records.to_json(record).rstrip())
    else:
        terminal.say(
            f"Predicted {record.images:,} images with version {Path(record.model).name} in "
            f"{record.seconds:.1f} s: {output}"
        )
    if record.failed:
        terminal.say(
            f"{record.failed:,} images have no prediction; see {output}/failed-*.jsonl.",
            err=True,
        )
    return int(record.failed > 0)


@click.command(epilog=examples("cifar doctor", "cifar doctor output/serving/cifar10"))
@click.argument(
    "model_dir",
    type=click.Path(path_type=Path),
    default=Path("output/serving/cifar10"),
    metavar="[MODEL_DIR]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(model_dir: Path, as_json: bool) -> None:
    """Check a model folder as a server would.

    MODEL_DIR is a version or the folder of all versions. Example requests are printed too.
    Exit code 1 if a check fails.
    """
    import json

    imports.silence()
    from contract import terminal
    from serving.doctor import diagnose

    report = diagnose(model_dir)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        terminal.say(*report.lines())
    sys.exit(0 if report.is_healthy else 1)
