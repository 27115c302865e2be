"""Modules of other packages that run only when they are used, because they seldom are."""

import functools
import importlib.abc
import importlib.util
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

# Lazy modules run when one of their names is used, or a module inside them is imported; but
# those after the colon (an asterisk: all) do without.
LazyModules = Mapping[str, Collection[str]]

# Others import these in case they are needed.
SELDOM_USED: LazyModules = {
    # Beam imports them for tables and streams in Google's cloud, and with them IPython.
    "google.cloud.bigquery": (),
    "google.cloud.bigquery_storage_v1": (),
    "google.cloud.pubsub": (),
    # TensorFlow imports it for clusters on Compute Engine.
    "googleapiclient.discovery": (),
    # It lists the files of all installed packages, to say which are old.
    "google.api_core": "*",
    # TFDV imports its display.
    "IPython": "*",
    # They contain the public names of TensorFlow again.
    "tensorflow._api.v2.compat.v1.compat": (),
    "tensorflow._api.v2.compat.v2.compat": (),
    # It imports every component, with the clients of Kubernetes and Docker.
    "tfx.components": "*",
}

# TFX imports these also for the type of a parameter or a decorator, so some nodes need none.
# A process that makes them lazy must end with os._exit: our modules may then come before
# TensorFlow's, which have to be there when Python deletes what is in ours.
LARGE: LazyModules = {
    "tensorflow": ("core", "tools", "tsl"),
    "tensorflow_data_validation": ("anomalies",),
    "tensorflow_model_analysis": ("constants", "proto", "sdk", "version"),
}

# TensorFlow imports these, and with them pandas, so that tf.saved_model.load knows optimizers.
# A process that never calls it can make them lazy.
KERAS: LazyModules = {
    "keras": ("_tf_keras", "api", "src"),
    "keras.src": ("optimizers",),
    "keras.src.optimizers": (),
}

# Python itself and tools that look through all modules ask for these names.
ASKED_OF_ALL = ("__path__", "__warningregistry__", "__wrapped__")


def make_lazy(modules: LazyModules) -> None:
    """Makes modules lazy if they have not been imported yet."""
    finders = [finder for finder in sys.meta_path if isinstance(finder, LazyFinder)]
    if not finders:
        finders = [LazyFinder()]
        sys.meta_path[:0] = finders
    finders[0].modules |= modules


class LazyFinder(importlib.abc.MetaPathFinder):
    """Finds the lazy modules when it is in sys.meta_path.

    Attributes:
        modules: Those that it finds.
    """

    def __init__(self) -> None:
        """Makes a finder of no modules."""
        self.modules: dict[str, Collection[str]] = {}
        self._loaders: dict[str, LazyLoader] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns where a listed module is; None for others, and if it is not installed."""
        if name in self.modules and name not in sys.modules:  # else it is reloaded
            spec = PathFinder.find_spec(name, path, target)
            if spec and spec.loader:
                spec.loader = self._loaders[name] = LazyLoader(spec.loader, self.modules[name])
            return spec
        package, _, child = name.rpartition(".")
        alone = self.modules.get(package, ())
        if package in self._loaders and "*" not in alone and child not in alone:
            module = sys.modules[package]
            if self._loaders[package].run(module):
                if name in sys.modules:
                    return ImportedLoader(name, sys.modules[name]).spec
                return PathFinder.find_spec(name, module.__path__, target)
        return None


class LazyLoader(importlib.abc.Loader):
    """Makes a module without running its code; the first use of one of its names does.

    importlib.util.LazyLoader runs it as soon as a second module imports it (Python < 3.12).
    """

    def __init__(self, loader: importlib.abc.Loader, alone: Collection[str]) -> None:
        """Takes the module's own loader, and which modules inside it can do without."""
        self._loader = loader
        self._alone = alone
        self._lock = threading.RLock()
        self._has_started = self._has_run = False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Returns what the module's own loader makes."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Prepares the module to run later."""
        assert module.__spec__
        module.__spec__.loader = module.__loader__ = self._loader
        module.__dict__["__getattr__"] = functools.partial(self._find, module)

    def run(self, module: ModuleType) -> bool:
        """Runs a module, or waits if another thread does; returns False if it has run."""
        with self._lock:
            if self._has_started:
                return False
            self._has_started = True  # or a name that it lacks would run it again from within
            ours = module.__dict__["__getattr__"]
            try:
                self._loader.exec_module(module)
            except BaseException:
                self._has_started = False
                module.__dict__["__getattr__"] = ours
                raise
            if module.__dict__.get("__getattr__") is ours:
                del module.__dict__["__getattr__"]
            self._has_run = True
            return True

    def _find(self, module: ModuleType, name: str) -> Any:
        """Returns a name that the module does not have, because it may not have run yet.

        Raises:
            AttributeError: It has no such name when it has run.
            Exception: Whatever the module raises when it runs.
        """
        if name not in ASKED_OF_ALL:
            child = f"{module.__name__}.{name}"
            if name in self._alone or ("*" in self._alone and importlib.util.find_spec(child)):
                return importlib.import_module(child)
            self.run(module)
            if name in module.__dict__ or self._has_run:
                return getattr(module, name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")


class ImportedLoader(importlib.abc.Loader):
    """Returns a module that is already there, because its package has just imported it.

    Attributes:
        spec: Says that this loader is the module's, which Python takes from the module itself.
    """

    def __init__(self, name: str, module: ModuleType) -> None:
        """Takes the module and the name that it is imported under."""
        self._module = module
        self._true_spec = module.__spec__
        self.spec = module.__spec__ = ModuleSpec(name, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Returns the module."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Restores what the module says about itself."""
        module.__spec__ = self._true_spec
