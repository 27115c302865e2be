"""The report of one run, from ReportGen's output or from the existing artifacts."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from contract import metadata, records
from contract.files import DATA_GATE_FILE, FACTS_FILE, INDEX_FILE
from contract.writing import write_whole
from report import lineage, page, runs
from report.facts import Facts, Report
from report.run_record import RunRecord
from serving import model_registry

log = logging.getLogger("cifar.run_report")


def write_report(record: RunRecord, *paths: Path, metadata_url: str = "") -> None:
    """Writes the page of a run to each path.

    Args:
        record: The record of the run.
        paths: The files to write; their folders must exist.
        metadata_url: The URL of the metadata server, with the password.
    """
    found = report_of(record)
    traced = lineage_of(record, metadata_url)
    index = Path(record.settings.output_dir) / INDEX_FILE
    for path in paths:
        to_index = os.path.relpath(index, path.parent) if index.is_file() else ""
        html = page.render(found.facts, found.plots, record, traced, to_index)
        write_whole(path, html)


def write_history(output: Path) -> Path:
    """Writes the page of all runs of an output folder, and returns its path."""
    from report import history  # and Matplotlib with it

    path = output / INDEX_FILE
    write_whole(path, history.render(runs.read_runs(output), output))
    return path


def write_comparison(records: Iterable[RunRecord], path: Path) -> None:
    """Writes a page that compares runs."""
    from report import comparison

    compared = [comparison.Run(record, report_of(record).facts) for record in records]
    write_whole(path, comparison.render(compared))


def lineage_of(record: RunRecord, metadata_url: str = "") -> lineage.Lineage | None:
    """Returns the lineage of the version that a run pushed; None without metadata.

    A record does not contain the password: without `metadata_url`, MySQL is not queried.
    """
    output_dir = Path(record.settings.output_dir)
    if record.settings.metadata_url:
        can_ask = bool(metadata_url)
    else:
        metadata_url = ""
        can_ask = (output_dir / metadata.SQLITE_FILE).is_file()
    if not can_ask or not record.pushed_version:
        return None
    try:
        metadata.check(output_dir, metadata_url)
        connection = metadata.connection_to(output_dir, metadata_url, read_only=True)
        return lineage.trace(connection, record.pushed_version, pushed_versions([record]))
    except (LookupError, ValueError) as error:
        log.warning("The report has no lineage: %s", error)
        return None


def pushed_versions(records: Iterable[RunRecord]) -> dict[str, model_registry.PushedVersion]:
    """Returns each version that the runs pushed, read from its folder."""
    paths = [Path(run.pushed_path) for run in records if run.pushed_path]
    return {
        path.name: model_registry.read_version(path)
        for path in paths
        if model_registry.holds_model(path)
    }


def findings_of(record: RunRecord) -> str:
    """Returns the folder of a run if it holds what the data gate found; empty otherwise."""
    folder = Path(record.settings.output_dir) / "runs" / record.run_id
    return str(folder) if (folder / DATA_GATE_FILE).is_file() else ""


def report_of(record: RunRecord) -> Report:
    """Returns facts and plots of a run, from ReportGen's output or from the artifacts."""
    path = Path(record.uri("ReportGen", "report")) / FACTS_FILE
    if path.is_file():
        try:
            return records.from_json(Report, path.read_bytes())
        except ValueError as error:
            log.warning("%s cannot be read, so the report reads the artifacts: %s", path, error)
    if not record.stages or record.is_cleaned:
        return Report(Facts(record.config), {})
    # Importing TensorFlow takes seconds, and a finished run does not need it.
    from tfx.utils import path_utils

    from report import collect, plots

    model = record.uri("Trainer", "model")
    facts = collect.collect_facts(
        collect.Sources(
            config=record.config,
            examples=record.uri("CifarExampleGen", "examples"),
            schema=record.uri("CifarExampleGen", "schema"),
            anomalies=record.uri("ExampleValidator", "anomalies") or findings_of(record),
            model=model and path_utils.serving_model_dir(model),
            model_run=record.uri("Trainer", "model_run"),
            evaluation=record.uri("Evaluator", "evaluation"),
            serving_check=record.uri("ServingCheck", "blessing"),
            baseline_version=record.gate.baseline_version if record.gate else None,
            pushed_version=record.pushed_version,
            pushed_path=record.pushed_path,
        )
    )
    return Report(facts, plots.draw_all(facts))
