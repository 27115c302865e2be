"""The report of one run: its facts, from the ReportGen node or from as far as it came."""

import json
from pathlib import Path
from typing import Any

from report import page

FACTS_FILE = "report.json"  # what ReportGen writes beside its page
PAGE_FILE = "report.html"

Facts = dict[str, Any]
Plots = dict[str, str]


def write_report(record: dict[str, Any], *paths: Path) -> None:
    """Writes the page of a run to each path, each by one rename.

    Args:
        record: What `run.json` holds.
        paths: Files in folders that are there.
    """
    facts, plots = facts_of(record)
    html = page.render(facts, plots, record)
    for path in paths:
        partial = path.with_suffix(".partial")
        partial.write_text(html)
        partial.rename(path)


def facts_of(record: dict[str, Any]) -> tuple[Facts, Plots]:
    """Returns facts and plots of a run: what ReportGen wrote, else what there is to read."""
    uris = {
        (stage, output): uri
        for stage, facts in record["stages"].items()
        for output, uri in facts["outputs"].items()
    }
    report = Path(uris.get(("ReportGen", "report"), "")) / FACTS_FILE
    if report.is_file():
        content = json.loads(report.read_text())
        return content["facts"], content["plots"]
    if not uris:
        return page.NO_FACTS | {"config": record["config"]}, {}
    # Importing TensorFlow takes seconds; a finished run does without.
    from tfx.utils import path_utils

    from report import collect, plots

    model = uris.get(("Trainer", "model"), "")
    facts = collect.collect_facts(
        collect.Sources(
            config=record["config"],
            examples=uris.get(("CifarExampleGen", "examples"), ""),
            anomalies=uris.get(("ExampleValidator", "anomalies"), ""),
            model=model and path_utils.serving_model_dir(model),
            model_run=uris.get(("Trainer", "model_run"), ""),
            evaluation=uris.get(("Evaluator", "evaluation"), ""),
            serving_check=uris.get(("ServingCheck", "blessing"), ""),
        )
    )
    return facts, plots.draw_all(facts)
