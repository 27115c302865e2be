"""The page: facts, plots and the run's record poured into the template."""

import dataclasses
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import jinja2
import markupsafe

from contract import signatures
from contract.data_gate_record import Comparison, Distance
from contract.progress import duration
from report import graph, lineage, run_record
from report.class_scores import class_scores
from report.facts import ExampleRequest, Facts, ModelFacts
from report.intervals import wilson
from report.model_card import is_sample, model_card
from report.run_record import RunRecord
from report.stages import stage_list

MATRIX_CLASSES = 40  # a confusion matrix of more has no room on a page
TEMPLATES = Path(__file__).parent / "templates"

_TITLES = {
    run_record.FAILED: "The run failed",
    run_record.STOPPED: "The run was stopped",
    run_record.KILLED: "The run was killed",
    run_record.RUNNING: "The run is in progress",
}


@dataclasses.dataclass(frozen=True)
class Command:
    """A command to paste, and what it does."""

    what: str
    command: str


def render(
    facts: Facts,
    plots: Mapping[str, str],
    run: RunRecord | None = None,
    traced: lineage.Lineage | None = None,
    index: str = "",
) -> str:
    """Returns the report of a run as one self-contained HTML page.

    Args:
        facts: The facts from `collect.collect_facts`.
        plots: The SVG of each plot.
        run: The run's record, as in `run.json`; None inside the pipeline, where later
            stages have not finished.
        traced: The lineage of the pushed version, if any.
        index: A link to the page of all runs, if there is one.
    """
    data, metrics = facts.data, facts.evaluation
    stages = stage_list(run)
    return (
        environment()
        .get_template("report.html")
        .render(
            title=title(facts, run),
            facts=facts,
            plots={name: markupsafe.Markup(svg) for name, svg in plots.items()},
            run=run,
            stages=stages,
            graph=markupsafe.Markup(graph.draw(stages, run.upstream))
            if run and run.upstream
            else None,
            interval=wilson(metrics.accuracy, metrics.eval_examples) if metrics else None,
            card=model_card(facts),
            scores=class_scores(metrics.confusion, metrics.class_names) if metrics else [],
            confused={
                (one.label, one.predicted): one
                for one in (facts.predictions.confusions if facts.predictions else ())
            },
            requests=example_requests(facts, facts.request) if facts.request else [],
            is_sample=is_sample(data),
            lineage=traced,
            index=index,
            layer_rows=layer_rows(facts.model) if facts.model else [],
            distance_rows=distance_rows,
            distance_words=distance_words,
            has_matrix=metrics and len(metrics.class_names) <= MATRIX_CLASSES,
        )
    )


def layer_rows(model: ModelFacts) -> list[tuple[str, ...]]:
    """Returns a row of the network's table for each layer."""
    return [
        (
            layer.kind,
            layer.name,
            layer.window,
            layer.output,
            f"{layer.parameters:,}" if layer.parameters else "",
        )
        for layer in model.layers
    ]


def distance_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Returns a row for each distance between two sets of images."""
    return [
        (one.feature, f"{one.value:.3f}", f"{one.limit:.3f}", one.setting)
        for one in comparison.distances
    ]


def distance_words(distance: Distance) -> str:
    """Returns the caption of two distributions."""
    return (
        f"{distance.feature}: {distance.measure} {distance.value:.3f}, at most "
        f"{distance.limit:.3f} is allowed"
    )


def title(facts: Facts, run: RunRecord | None) -> str:
    """Returns the outcome of the run in a few words."""
    if run and run.status in _TITLES:
        return _TITLES[run.status]
    if facts.pushed_version:
        return f"Pushed as version {facts.pushed_version}"
    return "Not blessed, not pushed"


def example_requests(facts: Facts, request: ExampleRequest) -> list[Command]:
    """Returns commands that ask a server for the class of one real image, ready to paste."""
    name = facts.settings.model_name
    output = f" --output {shlex.quote(facts.settings.output_dir)}"
    root = str(Path(facts.pushed_path).parent) if facts.pushed_path else "MODEL_DIR"
    url = f"http://localhost:8501/v1/models/{name}"
    instance = '"instances": [{"b64": "%s"}]'
    body = f'{{"signature_name": "{signatures.IMAGE_FILES}", {instance}}}'
    return [
        Command(
            "Serve the pushed model on this machine",
            f"cifar serve{facts.settings.serve_options(output)}",
        ),
        Command(
            "Or serve it with TensorFlow Serving in a container",
            "docker run --rm -p 8500:8500 -p 8501:8501 "
            f"-v {shlex.quote(root)}:/models/{name}:ro -e MODEL_NAME={name} "
            "tensorflow/serving:2.15.1",
        ),
        Command("Is it ready?", f"curl -s {url}"),
        Command(
            "Classify an image file",
            f"curl -s {url}:predict -d '" + body % "'$(base64 -w0 image.png)'" + "'",
        ),
        Command(
            f"Classify the first image of eval ({request.key}, a {request.label}); the answer "
            f"is {request.answer} with probability {request.probability:.3f}",
            f"curl -s {url}:predict -d '" + body % request.png + "'",
        ),
    ]


def data_marked(command: str) -> markupsafe.Markup:
    """Returns a command as HTML, with long base64 in an element that paper leaves out."""
    parts = re.split(r"([A-Za-z0-9+/=]{200,})", command)
    html = [
        markupsafe.Markup('<span class="data">{}</span>').format(part)
        if number % 2
        else markupsafe.escape(part)
        for number, part in enumerate(parts)
    ]
    return markupsafe.Markup("").join(html)


def environment() -> jinja2.Environment:
    """Returns what fills the templates: escaped, and strict about what is missing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters["percent"] = lambda fraction: f"{fraction:.1%}"
    environment.filters["interval"] = lambda fraction, count: (
        "{:.1%} to {:.1%}".format(*wilson(fraction, count)) if count else "–"
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["duration"] = duration
    environment.filters["data_marked"] = data_marked
    return environment
