"""The trainer module: the Estimator's code for the pipeline, found by a dotted path.

`check` verifies the contract before any work, and `contract/exported_model.py` verifies what
the Trainer has exported. A trainer module is a module or a package that contains

* `run_fn(fn_args)`, which trains and exports: the function TFX's Trainer calls,
* `preprocessing_fn(inputs, custom_config)`, which Transform traces: from `image` and `label` to
  features. The optional `custom_config` contains the data's `image_size` and `class_names`,
* `HyperParameters`, a frozen dataclass of settings (`contract/settings.py`), `train_steps`
  among them; a change of one with `shapes_weights: False` in its metadata does not retrain,
* `PRESETS`, its instances by name; `quick`, or else the first, is the default,
* `GATES` (optional): by preset name, the limits that replace the pipeline's `min_accuracy`,
  `max_accuracy_drop`, `min_class_accuracy` and `max_class_accuracy_drop`,
* `IMAGE_SIZES` (optional): the values of `image_size` it can train on, such as `(32,)`; by
  default all,
* `ABOUT` (optional): by preset name, a line for the help,
* `WEIGHT_MODULES` (optional): dotted paths of the modules whose edits retrain the model. By
  default, any edit of the code behind `run_fn` and `preprocessing_fn` does.

A package may spread them over its modules `run`, `preprocessing` and `hyper_parameters`; the
last is then read without the first two, and therefore without TensorFlow. If it contains only
settings (`_has_only_settings`), an edit retrains only the presets whose values it changes.
"""

import ast
import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from contract import imports, settings

DEFAULT = "trainer_module"
DEFAULT_PRESET = "quick"
GATE_SETTINGS = (
    "min_accuracy",
    "max_accuracy_drop",
    "min_class_accuracy",
    "max_class_accuracy_drop",
)
GUIDE = "docs/your_own_estimator.md"


class ContractError(ValueError):
    """All violations of the contract by a trainer module or by its exported model."""

    def __init__(self, what: str, violations: Collection[str]) -> None:
        """Takes what breaks the contract, and a line for each violation."""
        self.violations = tuple(violations)
        places = "1 place" if len(violations) == 1 else f"{len(violations)} places"
        lines = "\n  ".join(violations)
        super().__init__(
            f"{what} breaks the contract in {places} ({GUIDE} explains it):\n  {lines}"
        )


@dataclasses.dataclass(frozen=True)
class TrainerModule:
    """What the pipeline reads from a trainer module, whose code runs only in the nodes."""

    name: str  # the dotted path
    run_module: str  # the module that trains
    preprocessing_module: str  # the module of the transform graph
    # The module whose values, not whose code, distinguish trainings; empty if it contains more
    # than settings.
    settings_module: str
    presets: Mapping[str, Any]  # the hyper-parameters by the preset's name
    gates: Mapping[str, Mapping[str, float]]  # settings of the pipeline by the preset's name
    about: Mapping[str, str]  # what the help says of a preset
    image_sizes: Collection[int] | None  # that it can train on; None is all
    weight_modules: tuple[str, ...]  # dotted paths: what shapes the weights, with its imports


@functools.cache
def load(name: str = DEFAULT) -> TrainerModule:
    """Returns the trainer module at a dotted path.

    Raises:
        ContractError: It does not exist, or breaks the contract in what is read here.
    """
    homes = {part: _home(name, part) for part in ("run", "preprocessing", "hyper_parameters")}
    try:
        package = _import(name)
        settings_module = _import(homes["hyper_parameters"])
        presets = settings_module.PRESETS
    except Exception as error:
        check(name)  # reports all other violations too
        raise ContractError(f"The trainer module {name}", [_in_words(error)]) from error
    is_apart = homes["hyper_parameters"] != name
    return TrainerModule(
        name=name,
        run_module=homes["run"],
        preprocessing_module=homes["preprocessing"],
        settings_module=homes["hyper_parameters"]
        if is_apart and _has_only_settings(settings_module)
        else "",
        presets=presets,
        gates=getattr(settings_module, "GATES", {}),
        about=getattr(settings_module, "ABOUT", {}),
        image_sizes=getattr(settings_module, "IMAGE_SIZES", None),
        weight_modules=tuple(
            getattr(package, "WEIGHT_MODULES", sorted({homes["run"], homes["preprocessing"]}))
        ),
    )


def _has_only_settings(module: ModuleType) -> bool:
    """Returns whether other code gets nothing from a module but the values of settings.

    Then it contains imports, HyperParameters with fields and the checks of `__post_init__`,
    instances of it, and the constants that only the pipeline reads.
    """
    kind = getattr(module, "HyperParameters", None)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return False  # which `check` reports
    try:
        statements = ast.parse(inspect.getsource(module)).body
    except (OSError, TypeError):  # compiled
        return False
    presets = {name for name, value in vars(module).items() if isinstance(value, kind)}
    constants = presets | {"PRESETS", "GATES", "ABOUT", "IMAGE_SIZES"}
    fields = {field.name for field in dataclasses.fields(kind)}

    def is_setting(statement: ast.stmt) -> bool:
        match statement:
            case ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant()):
                return True
            case ast.Assign([ast.Name(name)]) | ast.AnnAssign(ast.Name(name)):
                return name in constants
            case ast.ClassDef("HyperParameters", bases=[], keywords=[], body=body):
                return all(map(is_field_or_check, body))
        return False

    def is_field_or_check(statement: ast.stmt) -> bool:
        match statement:
            case ast.Expr(ast.Constant()):
                return True
            case ast.AnnAssign(ast.Name(name)):
                return name in fields
            case ast.FunctionDef("__post_init__"):
                return "__setattr__" not in ast.unparse(statement)
        return False

    is_defined_here = kind.__module__ == module.__name__
    return is_defined_here and all(map(is_setting, statements))


def weight_settings(hyper_parameters: Any) -> dict[str, Any]:
    """Returns the fields that the trained weights depend on, by name."""
    return {
        field.name: getattr(hyper_parameters, field.name)
        for field in dataclasses.fields(hyper_parameters)
        if field.metadata.get("shapes_weights", True)
    }


@functools.cache
def check(name: str, reserved: Collection[str] = ()) -> None:
    """Imports a trainer module and checks it against the contract.

    Args:
        name: Its dotted path.
        reserved: Names that no hyper-parameter may have.

    Raises:
        ContractError: It has violations; the message gives each with its place.
    """
    if violations := list(_violations(name, reserved)):
        raise ContractError(f"The trainer module {name}", violations)


def _violations(name: str, reserved: Collection[str]) -> Iterator[str]:
    try:
        package = _import(name)
    except Exception as error:
        yield _not_imported(name, error)
        return
    for function, part, arguments in (
        ("run_fn", "run", "fn_args"),
        ("preprocessing_fn", "preprocessing", "inputs, custom_config"),
    ):
        yield from _of_function(_home(name, part), function, arguments)
    yield from _of_settings(_home(name, "hyper_parameters"), reserved)
    for module in getattr(package, "WEIGHT_MODULES", ()):
        if not _exists(module):
            yield f"{_file(package)}: WEIGHT_MODULES names {module}, which does not exist"


def _of_function(module_name: str, name: str, arguments: str) -> Iterator[str]:
    """Yields the faults of a function that is called with some arguments."""
    try:
        module = _import(module_name)
    except Exception as error:
        yield _not_imported(module_name, error)
        return
    function = getattr(module, name, None)
    if function is None:
        yield f"{_file(module)}: {name} is missing; write `def {name}({arguments}):`"
    elif not callable(function):
        yield f"{_file(module)}: {name} is not a function; write `def {name}({arguments}):`"
    elif not _can_be_called(function):
        yield (
            f"{_place(function, module)}: {name}{inspect.signature(function)} has the wrong "
            f"signature; write `def {name}({arguments}):`"
        )


def _of_settings(module_name: str, reserved: Collection[str]) -> Iterator[str]:
    """Yields the faults of HyperParameters and PRESETS."""
    try:
        module = _import(module_name)
    except Exception as error:
        yield _not_imported(module_name, error)
        return
    kind = getattr(module, "HyperParameters", None)
    file = _file(module)
    if not isinstance(kind, type):
        yield f"{file}: HyperParameters is missing; write a frozen dataclass of that name"
    else:
        yield from _of_dataclass(kind, module, reserved)
    yield from _of_gates(module)
    sizes = getattr(module, "IMAGE_SIZES", (1,))
    if not isinstance(sizes, Collection) or not all(isinstance(size, int) for size in sizes):
        yield f"{file}: IMAGE_SIZES is {sizes!r}; write the sizes in pixels, as in `(32,)`"
    presets = getattr(module, "PRESETS", None)
    if not isinstance(presets, Mapping) or not presets:
        yield f'{file}: PRESETS is missing; write `PRESETS = {{"quick": HyperParameters()}}`'
        return
    for name, preset in presets.items():
        if not isinstance(name, str):
            yield f"{file}: PRESETS has the name {name!r}; a name must be a string"
        elif isinstance(kind, type) and not isinstance(preset, kind):
            yield f"{file}: the preset {name} is {preset!r}, not of class HyperParameters"
        elif isinstance(kind, type):
            yield from (f"{file}: the preset {name}: {fault}" for fault in _faults(preset))


def _of_gates(module: ModuleType) -> Iterator[str]:
    gates = getattr(module, "GATES", {})
    for preset, gate in gates.items():
        if preset not in getattr(module, "PRESETS", {}):
            yield f"{_file(module)}: GATES names {preset}, which is not a preset"
        for name in sorted(gate.keys() - set(GATE_SETTINGS)):
            yield f"{_file(module)}: GATES has {name}, not {' or '.join(GATE_SETTINGS)}"


def _of_dataclass(kind: type, module: ModuleType, reserved: Collection[str]) -> Iterator[str]:
    place = _place(kind, module)
    if not dataclasses.is_dataclass(kind) or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield f"{place}: HyperParameters is not a frozen dataclass; use @dataclass(frozen=True)"
    if not dataclasses.is_dataclass(kind):
        return
    try:
        fields = settings.of(kind)
    except (TypeError, NameError) as error:
        yield f"{place}: HyperParameters: {error}"
        return
    if "train_steps" not in fields or fields["train_steps"].kind is not int:
        yield f"{place}: HyperParameters lacks the field `train_steps: int`"
    for name in sorted(fields.keys() & set(reserved)):
        yield f"{place}: HyperParameters.{name} is also a setting of the pipeline; rename it"


def _faults(preset: Any) -> list[str]:
    try:
        return settings.faults(preset)
    except (TypeError, NameError):  # reported already
        return []


def _home(name: str, part: str) -> str:
    """Returns the module with a part: one of the package, or the trainer module itself."""
    return f"{name}.{part}" if _exists(f"{name}.{part}") else name


def _exists(name: str) -> bool:
    # A package that cannot be imported is reported elsewhere.
    with contextlib.suppress(Exception):
        return importlib.util.find_spec(name) is not None
    return False


def _import(name: str) -> ModuleType:
    if name in sys.modules or name.partition(".")[0] == DEFAULT:
        return importlib.import_module(name)
    with imports.fast(), imports.remarks_left_out():
        return importlib.import_module(name)


def _can_be_called(function: Callable[..., Any]) -> bool:
    """Returns whether a function takes one argument, and maybe TFX's `custom_config`."""
    signature = inspect.signature(function)
    given = {"custom_config": None} if "custom_config" in signature.parameters else {}
    try:
        signature.bind(None, **given)
    except TypeError:
        return False
    return True


def _not_imported(name: str, error: Exception) -> str:
    """Returns why a module cannot be imported, and where its code fails."""
    if isinstance(error, ModuleNotFoundError) and name.startswith(f"{error.name}"):
        return (
            f"there is no module {error.name} in {Path.cwd()} or on the Python path; check the "
            "name, or add its folder to PYTHONPATH"
        )
    return f"{name} cannot be imported: {_in_words(error)}"


def _in_words(error: Exception) -> str:
    """Returns an error with the line that raised it."""
    trace, place = error.__traceback__, ""
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if Path(file).is_file() and file != __file__:  # else it is Python's import machinery
            place = f" ({_short(file)}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{place}"


def _place(thing: Any, module: ModuleType) -> str:
    """Returns `file:line` of a class or function in a module."""
    try:
        return f"{_file(module)}:{inspect.getsourcelines(thing)[1]}"
    except (OSError, TypeError):
        return _file(module)


def _file(module: ModuleType) -> str:
    return _short(module.__file__ or module.__name__)


def _short(file: str) -> str:
    """Returns a path relative to the working directory if it is below it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
