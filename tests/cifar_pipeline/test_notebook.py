"""The notebook in examples/, executed as it stands."""

import re

import nbclient
import nbformat
import pytest

from pipeline_def.code_version import ROOT

NOTEBOOK = ROOT / "examples/first_run.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook's cells with their outputs, in a folder where nothing has run."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    nbclient.NotebookClient(notebook, timeout=500, resources=resources).execute()
    return notebook


def outputs_of(notebook, start: str) -> list:
    """Returns what the cell that holds a text printed and showed."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and start in c.source]
    return cell.outputs


def text_of(outputs: list) -> str:
    return "".join(one.get("text", "") for one in outputs)


def test_the_first_run_is_pushed_and_prints_plain_lines(executed):
    text = text_of(outputs_of(executed, 'run("smoke", data="sample", output="output")'))
    assert "\x1b" not in text  # nothing is redrawn
    assert re.search(r"^pushed: accuracy \d+\.\d% on 200 images$", text, re.MULTILINE)


def test_the_second_run_uses_the_cache(executed):
    assert "CifarExampleGen" in text_of(outputs_of(executed, "train_steps=120"))


def test_the_comparison_is_a_table_and_predictions_are_pictures(executed):
    (table,) = outputs_of(executed, "cifar_pipeline.compare(run, longer)")
    assert "train_steps" in table.data["text/html"]
    for cell in ("axes.barh", "axes.imshow"):
        assert any("image/png" in one.get("data", {}) for one in outputs_of(executed, cell))


def test_the_notebook_in_the_repository_has_the_outputs_of_a_run():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in code)
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error"]
