"""A hash of the code a node depends on: the part of the cache key TFX leaves out.

TFX's key holds the executor's class path and the parameters, not the code behind them
(tfx/orchestration/portable/cache_utils.py), so an edited function would be ignored.
"""

import ast
import functools
import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUR_PACKAGES = (
    "components",
    "contract",
    "data_sources",
    "report",
    "serving",
    "trainer_module",
)


def code_version(*modules: str, files: tuple[str, ...] = ()) -> str:
    """Returns a hash of modules, of all of ours they import, and of data files.

    The config is left out: its values are parameters of the nodes already.

    Args:
        modules: Dotted names, such as `trainer_module.run`.
        files: Paths below the project's root, such as `components/schema.pbtxt`.

    Raises:
        ModuleNotFoundError: A module is none of ours.
    """
    for module in modules:
        if not ROOT.joinpath(*module.split(".")).with_suffix(".py").is_file():
            raise ModuleNotFoundError(f"There is no module {module} below {ROOT}.")
    digest = hashlib.sha256()
    for path in sorted(_reachable_files(modules) | {ROOT / file for file in files}):
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _reachable_files(modules: tuple[str, ...]) -> set[Path]:
    """Returns the source files of modules and of what they import, directly or not."""
    files: set[Path] = set()
    waiting = [path for module in modules for path in _source_files(module)]
    while waiting:
        path = waiting.pop()
        if path not in files:
            files.add(path)
            waiting += [
                source
                for module in _imported_names(path.read_text())
                for source in _source_files(module)
            ]
    return files


@functools.cache
def _imported_names(source: str) -> frozenset[str]:
    """Returns every name imported anywhere in a module, as a dotted path.

    Kept, because the nodes of a pipeline have most of their modules in common.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def _source_files(module: str) -> list[Path]:
    """Returns the file of a module of ours with its packages' `__init__`; [] for others."""
    parts = module.split(".")
    if parts[0] not in OUR_PACKAGES:
        return []
    packages = [
        ROOT.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)
    ]
    return [
        path for path in (*packages, ROOT.joinpath(*parts).with_suffix(".py")) if path.is_file()
    ]
