"""What is read from a trainer module, and the errors for a faulty one."""

import dataclasses
import itertools
import re
import sys

import pytest

from contract import estimator
from contract.estimator import ContractError

SETTINGS = """
import dataclasses

@dataclasses.dataclass(frozen=True)
class HyperParameters:
    train_steps: int = 10
    verbose: bool = dataclasses.field(default=False, metadata={"shapes_weights": False})

PRESETS = {"forest": HyperParameters()}
"""
FUNCTIONS = """
def run_fn(fn_args):
    pass

def preprocessing_fn(inputs):
    return inputs
"""
numbers = itertools.count()


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Writes a package of files, and returns its dotted path: a new one each time."""

    def write(**files: str) -> str:
        folder = tmp_path / f"forest_{next(numbers)}"
        folder.mkdir()
        for name, source in {"__init__": "", **files}.items():
            (folder / f"{name}.py").write_text(source)
        return folder.name

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return write


def violations_of(name: str, *reserved: str) -> list[str]:
    with pytest.raises(ContractError) as error:
        estimator.check(name, reserved)
    return [line.removeprefix(f"{name}/") for line in error.value.violations]


def test_a_package_may_spread_its_parts_over_modules(make):
    name = make(hyper_parameters=SETTINGS, run=FUNCTIONS, preprocessing=FUNCTIONS)
    found = estimator.load(name)
    assert found.run_module == f"{name}.run"
    assert found.preprocessing_module == f"{name}.preprocessing"
    assert found.settings_module == f"{name}.hyper_parameters"
    preset = found.presets["forest"]
    assert dataclasses.asdict(preset) == {"train_steps": 10, "verbose": False}
    assert estimator.weight_settings(preset) == {"train_steps": 10}
    assert f"{name}.run" not in sys.modules  # settings are read without what trains
    estimator.check(name)


def test_one_module_may_hold_everything(make):
    name = f"{make(oak=SETTINGS + FUNCTIONS)}.oak"
    found = estimator.load(name)
    assert (found.run_module, found.preprocessing_module) == (name, name)
    assert found.settings_module == ""  # an edit of it is an edit of the network, too
    assert found.weight_modules == (name,)
    estimator.check(name)


def test_every_edit_trains_anew_unless_the_module_says_what_shapes_weights(make):
    name = make(hyper_parameters=SETTINGS, run=FUNCTIONS, preprocessing=FUNCTIONS)
    assert estimator.load(name).weight_modules == (f"{name}.preprocessing", f"{name}.run")
    assert "trainer_module.model" in estimator.load().weight_modules


CHECKED = """
    def __post_init__(self):
        if self.train_steps < 1:
            raise ValueError("train_steps must be positive")
"""
DERIVED = """
    def __post_init__(self):
        object.__setattr__(self, "half", self.train_steps // 2)
"""
METHOD = """
    @property
    def half(self):
        return self.train_steps // 2
"""


def with_part(part: str) -> str:
    """Returns the settings with a part added to the dataclass."""
    return SETTINGS.replace("\nPRESETS", f"{part}\nPRESETS")


@pytest.mark.parametrize(
    "source",
    [
        f'"""Settings."""\n{with_part(CHECKED)}',
        SETTINGS.replace(
            "\nPRESETS = {", "\nLONG = HyperParameters(99)\nPRESETS = {'long': LONG, "
        ),
        SETTINGS + "GATES = {}\nABOUT: dict = {}\nIMAGE_SIZES = (32,)\n",
    ],
)
def test_an_edit_of_nothing_but_settings_counts_by_their_values(make, source):
    name = make(hyper_parameters=source, run=FUNCTIONS, preprocessing=FUNCTIONS)
    assert estimator.load(name).settings_module == f"{name}.hyper_parameters"


def test_our_own_settings_count_by_their_values():
    assert estimator.load().settings_module == "trainer_module.hyper_parameters"


@pytest.mark.parametrize(
    "source",
    [
        with_part(METHOD),
        with_part(DERIVED),
        with_part("    SIZE = 3\n"),
        "import typing\n" + with_part("    SIZE: typing.ClassVar[int] = 3\n"),
        SETTINGS + "SIZE = 3\n",
        SETTINGS + "def half(steps):\n    return steps // 2\n",
        SETTINGS + "if True:\n    SIZE = 3\n",
        SETTINGS.replace("HyperParameters:", "HyperParameters(Exception):"),
        "from trainer_module.hyper_parameters import HyperParameters, PRESETS",
    ],
)
def test_code_beside_the_settings_counts_as_code(make, source):
    name = make(hyper_parameters=source, run=FUNCTIONS, preprocessing=FUNCTIONS)
    assert estimator.load(name).settings_module == ""


def test_our_own_module_keeps_the_contract():
    estimator.check(estimator.DEFAULT)


def test_a_trainer_module_that_is_not_there_is_named_with_the_folder(make, tmp_path):
    with pytest.raises(ContractError, match=f"no module absent in {tmp_path} or on the Python"):
        estimator.load("absent.estimator")


def test_all_that_an_empty_module_lacks_is_in_one_message(make):
    name = make()
    with pytest.raises(ContractError) as error:
        estimator.load(name)
    assert str(error.value) == (
        f"The trainer module {name} breaks the contract in 4 places "
        "(docs/your_own_estimator.md explains it):\n"
        f"  {name}/__init__.py: run_fn is missing; write `def run_fn(fn_args):`\n"
        f"  {name}/__init__.py: preprocessing_fn is missing; write "
        "`def preprocessing_fn(inputs, custom_config):`\n"
        f"  {name}/__init__.py: HyperParameters is missing; write a frozen dataclass of that "
        "name\n"
        f"  {name}/__init__.py: PRESETS is missing; write "
        '`PRESETS = {"quick": HyperParameters()}`'
    )


def test_each_violation_says_the_line_to_mend(make):
    source = (
        "import dataclasses\n"
        "from typing import Annotated\n"
        "@dataclasses.dataclass\n"
        "class HyperParameters:\n"
        '    rate: Annotated[float, "> 0"] = 0.1\n'
        "    output_dir: str = ''\n"
        'PRESETS = {"bad": HyperParameters(rate=0.0), "odd": 3}\n'
        "def run_fn(fn_args, more):\n"
        "    pass\n"
        "preprocessing_fn = 3\n"
        'WEIGHT_MODULES = ("forest_absent.model",)\n'
        "IMAGE_SIZES = 32\n"
    )
    assert violations_of(make(__init__=source), "output_dir") == [
        "__init__.py:8: run_fn(fn_args, more) has the wrong signature; write "
        "`def run_fn(fn_args):`",
        "__init__.py: preprocessing_fn is not a function; write "
        "`def preprocessing_fn(inputs, custom_config):`",
        "__init__.py:3: HyperParameters is not a frozen dataclass; use @dataclass(frozen=True)",
        "__init__.py:3: HyperParameters lacks the field `train_steps: int`",
        "__init__.py:3: HyperParameters.output_dir is also a setting of the pipeline; rename "
        "it",
        "__init__.py: IMAGE_SIZES is 32; write the sizes in pixels, as in `(32,)`",
        "__init__.py: the preset bad: rate must be a number > 0, got 0.0.",
        "__init__.py: the preset odd is 3, not of class HyperParameters",
        "__init__.py: WEIGHT_MODULES names forest_absent.model, which does not exist",
    ]


def test_a_module_that_cannot_be_imported_is_said_with_its_line(make):
    name = make(run="x = 1\nimport forest_absent\n", hyper_parameters=SETTINGS + FUNCTIONS)
    (imported, missing) = violations_of(name)
    reason = rf"ModuleNotFoundError: .*forest_absent.* \({name}/run.py:2\)"
    assert re.fullmatch(rf"{name}.run cannot be imported: {reason}", imported)
    assert missing.startswith("__init__.py: preprocessing_fn is missing")


def test_a_field_of_a_type_that_cannot_be_set_is_named(make):
    source = SETTINGS.replace("    verbose: bool", "    layers: tuple = ()\n    verbose: bool")
    (violation,) = violations_of(make(__init__=source + FUNCTIONS))
    assert violation.startswith("__init__.py:4: HyperParameters: layers is of type tuple; a ")
