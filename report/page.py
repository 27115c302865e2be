"""The page: facts, plots and the run's record poured into the template."""

import shlex
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from contract import features, signatures
from contract.progress import duration
from report import lineage, runs
from report.model_card import OFFICIAL_TRAIN_IMAGES, model_card
from report.runs import Record
from report.stages import stage_list

TEMPLATES = Path(__file__).parent / "templates"

# The sections of the facts; None stands for what a run did not come to.
NO_FACTS: dict[str, Any] = dict.fromkeys(
    (
        "config",
        "data",
        "training",
        "model",
        "predictions",
        "request",
        "evaluation",
        "baseline",
        "gate",
        "serving_check",
        "pushed_version",
        "pushed_path",
    )
)

_TITLES = {
    runs.FAILED: "The run failed",
    runs.STOPPED: "The run was stopped",
    runs.KILLED: "The run was killed",
    runs.RUNNING: "The run goes on",
}


def render(
    facts: dict[str, Any],
    plots: dict[str, str],
    run: Record | None = None,
    traced: lineage.Lineage | None = None,
) -> str:
    """Returns the report of a run as one self-contained HTML page.

    Args:
        facts: What `collect.collect_facts` returns.
        plots: The SVG of each plot.
        run: The run's record, as in `run.json`; None inside the pipeline, where stages still
            run and nobody knows their seconds.
        traced: Where the pushed version comes from, if it was pushed.
    """
    data = facts["data"]
    return (
        environment()
        .get_template("report.html")
        .render(
            title=title(facts, run),
            facts=facts,
            plots={name: markupsafe.Markup(svg) for name, svg in plots.items()},
            run=run,
            stages=stage_list(run),
            card=model_card(facts),
            requests=example_requests(facts) if facts["request"] else [],
            is_whole_data=data and sum(data["counts"]["train"]) >= OFFICIAL_TRAIN_IMAGES,
            lineage=traced,
            class_names=features.CLASS_NAMES,
        )
    )


def title(facts: dict[str, Any], run: Record | None) -> str:
    """Returns what the run came to, in a few words."""
    if run and run["status"] in _TITLES:
        return _TITLES[run["status"]]
    if facts["pushed_version"]:
        return f"Pushed as version {facts['pushed_version']}"
    return "Not blessed, not pushed"


def example_requests(facts: dict[str, Any]) -> list[dict[str, str]]:
    """Returns commands that ask a server for the class of one real image, ready to paste."""
    request, name = facts["request"], facts["config"]["model_name"]
    root = str(Path(facts["pushed_path"]).parent) if facts["pushed_path"] else "MODEL_DIR"
    url = f"http://localhost:8501/v1/models/{name}"
    instance = '"instances": [{"b64": "%s"}]'
    body = f'{{"signature_name": "{signatures.IMAGE_FILES}", {instance}}}'
    return [
        {
            "what": "Serve what is pushed, on this machine",
            "command": f"cifar serve --output {shlex.quote(facts['config']['output_dir'])}",
        },
        {
            "what": "… or with TensorFlow Serving in a container",
            "command": "docker run --rm -p 8500:8500 -p 8501:8501 "
            f"-v {shlex.quote(root)}:/models/{name}:ro -e MODEL_NAME={name} "
            "tensorflow/serving:2.15.1",
        },
        {"what": "Is it ready?", "command": f"curl -s {url}"},
        {
            "what": "Classify an image file",
            "command": f"curl -s {url}:predict -d "
            + "'"
            + body % "'$(base64 -w0 image.png)'"
            + "'",
        },
        {
            "what": f"Classify the first image of eval ({request['key']}, a "
            f"{request['label']}); the answer is {request['answer']} with probability "
            f"{request['probability']:.3f}",
            "command": f"curl -s {url}:predict -d '" + body % request["png"] + "'",
        },
    ]


def environment() -> jinja2.Environment:
    """Returns what fills the templates: escaped, and strict about what is missing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{share:.2%}"
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["duration"] = duration
    return environment
