"""Hashes the code that a node depends on, which TFX's cache key leaves out.

TFX's key contains the executor's class path and the parameters, but not the code behind them
(tfx/orchestration/portable/cache_utils.py), so edits would be ignored.

Imports are followed into this project, a team's own packages and everything else that Python
finds outside the standard library and the installed packages, which the lock pins. Nothing is
imported, so modules named only at run time (`importlib.import_module`) are missed.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Mapping
from importlib import machinery
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

_DISTRIBUTION = "cifar-estimator-pipeline"
_INSTALLED = {"site-packages", "dist-packages"}
_LOADERS = (
    (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
    (machinery.SourceFileLoader, machinery.SOURCE_SUFFIXES),
)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_Finder = Callable[[str], machinery.ModuleSpec | None]


def code_version(*modules: str, without: str = "", files: tuple[str, ...] = ()) -> str:
    """Returns a hash of modules, of our modules that they import, and of data files.

    Args:
        modules: Dotted names, such as `trainer_module.run`.
        without: A module to leave out, with the modules that only it imports.
        files: Paths below the project's root, such as `components/schema.pbtxt`.

    Raises:
        ModuleNotFoundError: A module, or one that it imports, cannot be found.
        ValueError: A module's file cannot be read, as within a zip archive.
    """
    contents = {
        name: path.read_bytes()
        for name, path in source_files(*modules, without=without).items()
    }
    return _digest(contents | {file: (ROOT / file).read_bytes() for file in files})


def algorithm_version(*modules: str, without: str = "") -> str:
    """Returns a hash of what modules, and our modules that they import, compute.

    Unlike `code_version`, it does not change with comments, docstrings and layout.

    Raises:
        ModuleNotFoundError, ValueError: As `code_version` does.
    """
    files = source_files(*modules, without=without).items()
    return _digest({name: _statements(path.read_bytes()) for name, path in files})


def source_files(*modules: str, without: str = "") -> dict[str, Path]:
    """Returns the files of modules and of our modules that they import, by dotted name.

    Raises:
        ModuleNotFoundError, ValueError: As `code_version` does.
    """
    find = functools.cache(_find)
    for module in modules:
        if find(module) is None:
            raise ModuleNotFoundError(
                f"There is no module {module} on the Python path, so its code cannot be part "
                "of the cache key. Check the name, or add its folder to PYTHONPATH."
            )
    own_packages = _project_packages() | {_top(module) for module in modules}
    files: dict[str, Path] = {}
    seen = {without}
    waiting = set(modules)
    while waiting:
        name = waiting.pop()
        seen.add(name)
        spec = find(name)
        if spec and _is_ours(name, find, own_packages):
            waiting |= {name.rpartition(".")[0]} - {""} - seen  # the package's __init__
            if path := _file_of(spec):
                files[name] = path
                waiting |= _imported_names(spec, path, find) - seen
    return files


def _find(name: str) -> machinery.ModuleSpec | None:
    """Returns where Python would import a module from; None if nowhere."""
    package, _, _ = name.rpartition(".")
    if not package:
        return importlib.util.find_spec(name)
    parent = _find(package)
    folders = (parent and parent.submodule_search_locations) or []
    specs = (machinery.FileFinder(folder, *_LOADERS).find_spec(name) for folder in folders)
    return next((spec for spec in specs if spec), None)


def _is_ours(name: str, find: _Finder, own_packages: set[str]) -> bool:
    top = _top(name)
    if top in sys.stdlib_module_names:
        return False
    spec = find(top)
    if top in own_packages or spec is None:
        return spec is not None
    folders = [*(spec.submodule_search_locations or []), spec.origin or ""]
    return not any(_INSTALLED & set(Path(folder).parts) for folder in folders)


def _project_packages() -> set[str]:
    """Returns this project's packages if it is installed, among the libraries, as a wheel."""
    try:
        packages = importlib.metadata.distribution(_DISTRIBUTION).read_text("top_level.txt")
    except importlib.metadata.PackageNotFoundError:
        packages = None
    return set((packages or "").split())


def _file_of(spec: machinery.ModuleSpec) -> Path | None:
    """Returns the file of a module; None for a package without `__init__.py`."""
    if spec.origin is None:
        return None
    path = Path(spec.origin)
    if not path.is_file():
        raise ValueError(
            f"The code of {spec.name} is in {path}, which is not a file, so it cannot be part "
            "of the cache key. Unpack or install it as plain files."
        )
    return path


class _Import(NamedTuple):
    """`import module`, or `from <level dots>module import names`."""

    module: str
    level: int
    names: tuple[str, ...]
    is_required: bool  # runs whenever the importing module does


def _imported_names(spec: machinery.ModuleSpec, path: Path, find: _Finder) -> set[str]:
    """Returns the dotted names of everything a file imports, including possible modules.

    Raises:
        ModuleNotFoundError: An import that must succeed would not.
    """
    if path.suffix != ".py":
        return set()
    names = set()
    for found in _imports(path.read_bytes()):
        module = importlib.util.resolve_name("." * found.level + found.module, spec.parent)
        if found.is_required and not _can_be_found(module, find):
            raise ModuleNotFoundError(
                f"{path} imports {module}, which is not on the Python path, so its code "
                "cannot be part of the cache key. Install it, or add its folder to PYTHONPATH."
            )
        names |= {module, *(f"{module}.{name}" for name in found.names)}
    return names


def _can_be_found(module: str, find: _Finder) -> bool:
    return _top(module) in sys.stdlib_module_names or find(_top(module)) is not None


@functools.cache
def _imports(source: bytes) -> tuple[_Import, ...]:
    """Returns every import of a module, at its top or within a function.

    Cached, because the nodes of a pipeline share most of their modules.
    """
    tree = ast.parse(source)
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [_Import(a.name, 0, (), node in tree.body) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            imports.append(_Import(node.module or "", node.level, names, node in tree.body))
    return tuple(imports)


@functools.cache
def _statements(source: bytes) -> bytes:
    """Returns a module in a normalized layout, without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree).encode()


def _digest(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _top(name: str) -> str:
    return name.partition(".")[0]
