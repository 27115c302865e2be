"""The Beam transform from sources to files of predictions.

TFX's own RunInference runs the model. A batch is one element throughout, so its results are on
disk before the next batch is read, and a killed run can continue after them. To RunInference,
the images of a batch are one example: what it does for each example takes as long as the model
does for an image.
"""

import atexit
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import prediction_log_pb2
from tfx_bsl.public.beam.run_inference import RunInferenceOnKeyedBatches
from tfx_bsl.public.proto import model_spec_pb2

from serving.batch import results, sources
from serving.model_server.servable import Servable

PROBABILITIES = "probabilities"
REFUSED = -1  # the class id of an image that the model refuses
NOT_A_NUMBER = "the model's probabilities of this image are NaN"


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch without its contents: the path of its results, and its images."""

    path: str
    names: tuple[str, ...]  # of the images that are fed
    failed: tuple[sources.Item, ...]


class PredictSources(beam.PTransform):
    """Predicts every image of the sources and writes one file of results for each batch."""

    def __init__(
        self, model: Path, found: Sequence[sources.Source], folder: Path, format_name: str
    ) -> None:
        """Takes the model and the sources.

        Args:
            model: The folder of a version.
            found: Sources of one kind.
            folder: For the results; every worker must see it at this path.
            format_name: One of `results.FORMATS`.
        """
        super().__init__()
        self._model = model
        self._found = found
        self._folder = folder
        self._format_name = format_name

    def expand(self, root: Any) -> beam.PCollection:
        """Returns the number of images predicted and failed, for each batch."""
        spec = model_spec_pb2.InferenceSpecType(
            saved_model_spec=model_spec_pb2.SavedModelSpec(
                model_path=str(self._model), signature_name=[self._found[0].kind.signature]
            ),
            batch_parameters=model_spec_pb2.BatchParameters(min_batch_size=1, max_batch_size=1),
        )
        return (
            root
            | "Sources" >> beam.Create(self._found, reshuffle=True)
            | "Read" >> beam.FlatMap(read_batches, str(self._folder), self._format_name)
            | "Predict" >> RunInferenceOnKeyedBatches(spec, load_override_fn=Model)
            | "Write" >> beam.Map(write, self._format_name)
        )


class Model:
    """A SavedModel with the `run` of a session, where a bad image does not fail others."""

    def __init__(self, path: str, tags: Sequence[str]) -> None:
        self._servable = Servable(Path(path), name="batch", version=0, tags=tuple(tags))
        # Beam keeps models until the process ends, when TensorFlow can no longer free them.
        atexit.register(self._servable.close)

    def run(self, fetches: Mapping[str, str], feed_dict: Mapping[str, Sequence[bytes]]) -> dict:
        """Returns the outputs of batches by alias, shape (batches, images, …).

        Of an image that the model refuses, there is the reason: its row has REFUSED for whole
        numbers and the reason for strings. Batches with fewer images have more rows at the end.

        Args:
            fetches: Tensor names by alias.
            feed_dict: Batches as `pack` returns them, for the one input. Beam may pass two at
                once, although `max_batch_size` is 1.
        """
        ((name, batches),) = feed_dict.items()
        found = [self._run_batch(fetches, name, unpack(packed)) for packed in batches]
        return {alias: _stacked([outputs[alias] for outputs in found]) for alias in fetches}

    def _run_batch(
        self, fetches: Mapping[str, str], name: str, contents: Sequence[bytes]
    ) -> dict:
        try:
            return self._run(fetches, name, contents)
        except tf.errors.InvalidArgumentError:
            rows = [self._run_one(fetches, name, content) for content in contents]
            return {alias: np.concatenate([row[alias] for row in rows]) for alias in fetches}

    def _run_one(self, fetches: Mapping[str, str], name: str, content: bytes) -> dict:
        try:
            return self._run(fetches, name, [content])
        except tf.errors.InvalidArgumentError as error:
            empty = self._run(fetches, name, [])
            reason = _first_line(error)
            return {alias: _missing(array, reason) for alias, array in empty.items()}

    def _run(self, fetches: Mapping[str, str], name: str, contents: Sequence[bytes]) -> dict:
        tensors = tuple(sorted(set(fetches.values())))
        values = self._servable.run({name: np.array(contents, object)}, tensors)
        return {alias: _sized(values[tensor]) for alias, tensor in fetches.items()}


def read_batches(
    source: sources.Source, folder: str, format_name: str
) -> Iterator[tuple[Batch, list[bytes]]]:
    """Yields the batches of a source whose results are not on disk yet."""
    for number, items in enumerate(sources.read(source)):
        path = results.batch_file(Path(folder), source.index, number, format_name)
        if not path.exists():
            fed = [item for item in items if not item.error]
            failed = tuple(item for item in items if item.error)
            names = tuple(item.name for item in fed)
            yield Batch(str(path), names, failed), [pack([item.content for item in fed])]


def pack(contents: Sequence[bytes]) -> bytes:
    """Returns the inputs of a batch as one string."""
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=contents)
    return tensor.SerializeToString()


def unpack(packed: bytes) -> Sequence[bytes]:
    """Returns the inputs of a batch."""
    return tensor_pb2.TensorProto.FromString(packed).string_val


def write(
    predicted: tuple[Batch, list[prediction_log_pb2.PredictionLog]], format_name: str
) -> None:
    """Writes the results of a batch."""
    batch, (log,) = predicted
    found = to_results(batch.names, log)
    reasons = {
        place: f"the model refuses this image: {found.class_names[place]}"
        for place in np.flatnonzero(found.class_ids == REFUSED)
    }
    for place in np.flatnonzero(np.isnan(found.probabilities).any(axis=1)):
        reasons.setdefault(place, NOT_A_NUMBER)
    failed = [
        sources.Item(batch.names[place], error=reasons[place]) for place in sorted(reasons)
    ]
    good = np.setdiff1d(np.arange(len(batch.names)), list(reasons))
    results.write_batch(
        Path(batch.path), format_name, found.rows(good), [*batch.failed, *failed]
    )


def to_results(names: Sequence[str], log: prediction_log_pb2.PredictionLog) -> results.Results:
    """Returns the results in the PredictionLog of a batch."""
    request, response = log.predict_log.request, log.predict_log.response
    ((input_name, fed),) = request.inputs.items()
    outputs = {
        name: tf.make_ndarray(output)[0][: len(names)]
        for name, output in response.outputs.items()
    }
    contents = unpack(fed.string_val[0])
    signature_name = request.model_spec.signature_name
    return results.Results(names, contents, outputs, signature_name, input_name)


def _stacked(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Returns arrays as one, filled with zeros where one has fewer rows."""
    length = max(map(len, outputs))
    return np.stack(
        [
            np.concatenate([one, np.zeros((length - len(one), *one.shape[1:]), one.dtype)])
            for one in outputs
        ]
    )


def _missing(empty: np.ndarray, reason: str) -> np.ndarray:
    """Returns one row for a missing output."""
    shape = (1, *empty.shape[1:])
    if empty.dtype.kind == "S":
        return np.full(shape, reason.encode())
    return np.full(shape, np.nan if empty.dtype.kind == "f" else REFUSED, empty.dtype)


def _first_line(error: tf.errors.OpError) -> str:
    """Returns what an operation said, without the graph around it."""
    return str(error.message).strip().splitlines()[0]


def _sized(array: np.ndarray) -> np.ndarray:
    """Returns strings with a fixed-length dtype, which RunInference needs."""
    return array.astype(bytes) if array.dtype.hasobject else array
