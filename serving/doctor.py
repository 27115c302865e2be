"""`cifar doctor MODEL_DIR`: checks whether a model server can serve a folder, and how.

Each check covers a common mistake: a wrong folder layout, signatures that REST cannot serve,
warm-up records that fail and prevent the model from loading.
"""

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import prediction_log_pb2

from contract import terminal
from serving.model_server import inference, storage, tensors, warmup
from serving.model_server.loading import MLMD_FILE
from serving.model_server.servable import DEFAULT_SIGNATURE, Servable
from serving.model_server.status import to_serving_error

REST_URL = "http://127.0.0.1:8501"
# The types that REST can write as JSON; float16, for example, is missing.
WRITABLE = (
    "DT_FLOAT", "DT_DOUBLE", "DT_INT8", "DT_INT16", "DT_INT32", "DT_INT64",
    "DT_UINT8", "DT_UINT32", "DT_UINT64", "DT_BOOL", "DT_STRING",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Check:
    """One question about a model and its answer."""

    question: str
    is_good: bool
    finding: str


@dataclasses.dataclass(frozen=True)
class Signature:
    """A row of the signature table."""

    name: str
    method: str
    inputs: dict[str, str]  # dtype and shape by name
    outputs: dict[str, str]


@dataclasses.dataclass
class Report:
    """All findings."""

    model_dir: Path
    checks: list[Check] = dataclasses.field(default_factory=list)
    signatures: list[Signature] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)  # shell commands

    @property
    def is_healthy(self) -> bool:
        """Returns whether every check is good."""
        return all(check.is_good for check in self.checks)

    def add(self, question: str, is_good: bool, finding: str) -> bool:
        """Adds a check; returns whether it is good."""
        self.checks.append(Check(question, is_good, finding))
        return is_good

    def as_dict(self) -> dict:
        """Returns everything as JSON values."""
        return {
            "model_dir": str(self.model_dir),
            "is_healthy": self.is_healthy,
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "signatures": [dataclasses.asdict(one) for one in self.signatures],
            "requests": self.requests,
        }

    def lines(self) -> list[str]:
        """Returns the report for a terminal."""
        lines = [
            f"{'ok  ' if check.is_good else 'FAIL'}  {check.question}: {check.finding}"
            for check in self.checks
        ]
        for one in self.signatures:
            lines += ["", f"{one.name} ({one.method})"]
            for arrow, parts in (("<-", one.inputs), ("->", one.outputs)):
                lines += [f"  {arrow} {name}: {kind}" for name, kind in parts.items()]
        if self.requests:
            lines += ["", "Example requests:"]
            lines += [terminal.Command(f"  {line}") for line in self.requests]
        return lines


def diagnose(model_dir: Path) -> Report:
    """Returns whether and how a server would serve a model.

    Args:
        model_dir: A version folder, or the folder of all versions, of which the latest is
            examined.
    """
    report = Report(model_dir)
    version_dir = _version_dir(report)
    if version_dir is None:
        return report
    name, version = version_dir.parent.name, int(version_dir.name)
    try:
        servable = Servable(version_dir, name, version)
    except Exception as error:
        report.add("loads", False, str(to_serving_error(error)))
        return report
    report.add("loads", True, f"{name} version {version}")
    try:
        _check_signatures(report, servable)
        _check_warmup(report, servable)
    finally:
        servable.close()
    mlmd_file = version_dir / MLMD_FILE
    origin = mlmd_file.read_text().strip() if mlmd_file.exists() else "not recorded"
    report.add("MLMD id", True, origin)
    report.requests += [curl(name, one) for one in report.signatures]
    return report


def _version_dir(report: Report) -> Path | None:
    """Returns the version folder to examine; None if there is none, with the reason noted."""
    path = report.model_dir.resolve()
    question = "layout"
    if not path.is_dir():
        report.add(question, False, f"there is no folder {path}")
        return None
    if not (path / "saved_model.pb").exists():
        versions = storage.list_versions(path)
        if not versions:
            report.add(
                question,
                False,
                f"{path} has neither saved_model.pb nor version folders, whose names are "
                "numbers; with it as --model_base_path, a server waits forever",
            )
            return None
        path = versions[max(versions)]
        if not (path / "saved_model.pb").exists():
            report.add(question, False, f"{path} has no saved_model.pb")
            return None
    if not path.name.isdigit():
        report.add(
            question,
            False,
            f"{path.name} is not a number: a server only loads versions from folders like "
            f"{path.parent}/1",
        )
        return None
    report.add(question, True, f"version folder {path.name} in {path.parent}")
    return path


def _check_signatures(report: Report, servable: Servable) -> None:
    signatures = {
        name: signature
        for name, signature in sorted(servable.signatures.items())
        if not name.startswith("__")  # TensorFlow's own
    }
    for name, signature in signatures.items():
        report.signatures.append(
            Signature(
                name,
                signature.method_name.rpartition("/")[2],
                {key: _kind(info) for key, info in sorted(signature.inputs.items())},
                {key: _kind(info) for key, info in sorted(signature.outputs.items())},
            )
        )
    report.add(
        "signatures",
        DEFAULT_SIGNATURE in signatures,
        ", ".join(signatures)
        + ("" if DEFAULT_SIGNATURE in signatures else f"; {DEFAULT_SIGNATURE} is missing"),
    )
    problems = [
        f"{name}: {problem}"
        for name, signature in signatures.items()
        for problem in _rest_problems(signature)
    ]
    report.add(
        "outputs fit REST",
        not problems,
        "; ".join(problems) or "each has a batch dimension and a type that JSON supports",
    )


def _rest_problems(signature: meta_graph_pb2.SignatureDef) -> list[str]:
    problems = []
    for name, info in sorted(signature.outputs.items()):
        dtype = types_pb2.DataType.Name(info.dtype)
        shape = info.tensor_shape
        if dtype not in WRITABLE:
            problems.append(f"{name} is {dtype}, which JSON cannot represent")
        if not shape.unknown_rank and not shape.dim:
            problems.append(f"{name} is a scalar; REST needs one value for each row")
        elif shape.dim and shape.dim[0].size >= 0:
            problems.append(f"{name} always has {shape.dim[0].size} rows")
    return problems


def _check_warmup(report: Report, servable: Servable) -> None:
    question = "warm-up"
    path = servable.path / warmup.RECORDS_FILE
    if not path.exists():
        finding = f"no {warmup.RECORDS_FILE}; the first requests will be slow"
        report.add(question, True, finding)
        return
    try:
        records = warmup.read_records(path)
        for record in records:
            warmup.replay(servable, record)
        wrong = sorted({w for record in records for w in _not_batch_first(servable, record)})
    except Exception as error:
        report.add(question, False, f"a server rejects the model: {to_serving_error(error)}")
        return
    warmed = {_signature_of(record) for record in records}
    cold = [one.name for one in report.signatures if one.name not in warmed]
    finding = f"{len(records)} records replayed"
    report.add(question, True, finding + (f"; none for {', '.join(cold)}" if cold else ""))
    report.add(
        "outputs are batch-first",
        not wrong,
        "; ".join(wrong) or "each has one row for each input row",
    )


def _not_batch_first(servable: Servable, record: prediction_log_pb2.PredictionLog) -> list[str]:
    """Returns the outputs of a recorded Predict without one row for each input row."""
    if record.WhichOneof("log_type") != "predict_log":
        return []
    request = record.predict_log.request
    rows = {len(np.atleast_1d(tensors.to_array(proto))) for proto in request.inputs.values()}
    response = inference.predict(servable, request).run()
    return [
        f"{_signature_of(record)}: {name} has shape {list(shape)}"
        for name, proto in response.outputs.items()
        if (shape := tensors.to_array(proto).shape)[:1] != tuple(rows)
    ]


def _signature_of(record: prediction_log_pb2.PredictionLog) -> str:
    log = getattr(record, record.WhichOneof("log_type"))
    if record.WhichOneof("log_type") == "multi_inference_log":
        return log.request.tasks[0].model_spec.signature_name
    return log.request.model_spec.signature_name or DEFAULT_SIGNATURE


def _kind(info: meta_graph_pb2.TensorInfo) -> str:
    dtype = types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower()
    if info.tensor_shape.unknown_rank:
        return f"{dtype} of any shape"
    sizes = ("n" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim)
    return f"{dtype} [{', '.join(sizes)}]"


def curl(model: str, signature: Signature) -> str:
    """Returns a shell command that sends one row to a signature."""
    url = f"{REST_URL}/v1/models/{model}"
    if signature.method in ("classify", "regress"):
        body = {"signature_name": signature.name, "examples": [{"FEATURE": "VALUE"}]}
        return f"curl -d {shlex.quote(json.dumps(body))} {url}:{signature.method}"
    kinds = list(signature.inputs.values())
    if len(kinds) == 1 and kinds[0].startswith("string"):
        before = f'{{"signature_name": "{signature.name}", "instances": [{{"b64": "'
        return f"curl -d '{before}'$(base64 -w0 FILE)'\"}}]}}' {url}:predict"
    rows = {name: _zeros(kind) for name, kind in signature.inputs.items()}
    named = ", ".join(f'"{name}": {zeros}' for name, zeros in rows.items())
    row = f"{{{named}}}" if len(rows) > 1 else "".join(rows.values())
    program = (
        f'import json; print(json.dumps({{"signature_name": "{signature.name}", '
        f'"instances": [{row}]}}))'
    )
    return f"python3 -c {shlex.quote(program)} | curl -d @- {url}:predict"


def _zeros(kind: str) -> str:
    """Returns one row of a kind of tensor as a Python expression: zeros or empty strings."""
    dtype, _, shape = kind.partition(" [")
    expression = '""' if dtype == "string" else "False" if dtype == "bool" else "0"
    for size in reversed(shape.rstrip("]").split(", ")[1:]):
        expression = f"[{expression}]" if size in ("n", "1") else f"[{expression}] * {size}"
    return expression
