"""The report of one run: its facts, from the ReportGen node or from as far as it came."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contract import metadata
from contract.files import FACTS_FILE
from contract.writing import write_whole
from report import lineage, page
from report.runs import Record
from serving import model_registry

log = logging.getLogger("cifar.run_report")

Facts = dict[str, Any]
Plots = dict[str, str]


def write_report(record: Record, *paths: Path, metadata_url: str = "") -> None:
    """Writes the page of a run to each path.

    Args:
        record: What `run.json` holds.
        paths: Files in folders that are there.
        metadata_url: Where the run's metadata are, with the password a record leaves out.
    """
    facts, plots = facts_of(record)
    html = page.render(facts, plots, record, lineage_of(record, metadata_url))
    for path in paths:
        write_whole(path, html)


def write_comparison(first: Record, second: Record, path: Path) -> None:
    """Writes a page of two runs beside each other."""
    from report import comparison

    pair = [(record, facts_of(record)[0]) for record in (first, second)]
    write_whole(path, comparison.render(*pair))


def lineage_of(record: Record, metadata_url: str = "") -> lineage.Lineage | None:
    """Returns where the version a run pushed comes from; None if there is nobody to ask.

    A record holds no password: without `metadata_url`, metadata in MySQL are not asked.
    """
    output_dir = Path(record["config"]["output_dir"])
    if record["config"]["metadata_url"]:
        can_ask = bool(metadata_url)
    else:
        metadata_url = ""
        can_ask = (output_dir / metadata.SQLITE_FILE).is_file()
    if not can_ask or not record.get("pushed_version"):
        return None
    connection = metadata.connection_to(output_dir, metadata_url, read_only=True)
    try:
        return lineage.trace(connection, record["pushed_version"], pushed_versions([record]))
    except LookupError as error:
        log.warning("The report has no lineage: %s", error)
        return None


def pushed_versions(records: Iterable[Record]) -> dict[str, model_registry.PushedVersion]:
    """Returns what the folders of the versions that runs pushed say of them."""
    paths = [Path(run["pushed_path"]) for run in records if run.get("pushed_path")]
    return {
        path.name: model_registry.read_version(path)
        for path in paths
        if model_registry.holds_model(path)
    }


def facts_of(record: Record) -> tuple[Facts, Plots]:
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
        return page.NO_FACTS | {"config": record["config"]}, {}  # it failed before a stage
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
            baseline_version=record.get("gate", {}).get("baseline_version"),
            pushed_version=record.get("pushed_version"),
            pushed_path=record.get("pushed_path"),
        )
    )
    return facts, plots.draw_all(facts)
