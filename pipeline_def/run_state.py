"""Finds an earlier run with the same data, code and settings, whose result is then known.

Does not import TFX, so that `cifar run --if-changed` answers within a second.
"""

import hashlib
import json
from pathlib import Path

from contract import estimator
from pipeline_def.batches import Batches
from pipeline_def.code_version import ROOT, code_version
from pipeline_def.config import PipelineConfig
from report import run_record, runs
from report.run_record import RunRecord
from serving import version_ledger

# Where a run happens; these do not affect its result. The data themselves tell their spans.
_PLACES = ("data", "data_dir", "spans", "output_dir", "keep_runs", "metadata_url")


def fingerprint(config: PipelineConfig, batches: Batches) -> str:
    """Returns a hash of the data, the settings, and all code of the pipeline."""
    settings = {
        name: value for name, value in config.as_record().items() if name not in _PLACES
    }
    trainer_module = estimator.load(config.trainer_module)
    facts = {
        "data": batches.fingerprint,
        "settings": settings,
        "predict": _files_below(config.predict_batch),
        "code": _own_code(),
        "trainer": code_version(trainer_module.run_module, trainer_module.preprocessing_module),
    }
    content = json.dumps(facts, sort_keys=True, default=str).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _files_below(path: str) -> list[tuple[str, int, int]]:
    """Returns name, size and time of what is to be predicted."""
    if not path:
        return []
    files = [Path(path)] if Path(path).is_file() else sorted(Path(path).rglob("*"))
    statuses = [(str(file), file.stat()) for file in files if file.is_file()]
    return [(name, status.st_size, status.st_mtime_ns) for name, status in statuses]


def _own_code() -> str:
    """Returns a hash of all files of the installed project."""
    digest = hashlib.sha256()
    for package in sorted(ROOT.glob("*/__init__.py")):
        if package.parent.name in ("tests", "benchmarks"):
            continue
        for path in sorted(package.parent.rglob("*")):
            if path.suffix in (".py", ".pbtxt", ".html", ".css") and path.is_file():
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def find_equal(config: PipelineConfig, batches: Batches) -> RunRecord | None:
    """Returns the last run that pushed, if this one would be equal to it; else None.

    Also returns None if nothing is served any more, because a run would push again.
    """
    pushed = [
        run
        for run in runs.read_runs(Path(config.output_dir))
        if run.status == run_record.PUSHED
    ]
    if not pushed or pushed[-1].state != fingerprint(config, batches):
        return None
    model_dir = pushed[-1].settings.serving_model_dir
    states = [version.state for version in version_ledger.list_versions(model_dir)]
    return pushed[-1] if version_ledger.SERVED in states else None
