"""Starts a training from the weights of a pushed version, in place of random ones.

The served model contains the averaged weights. Both the weights and their averages start from
them; step, optimizer and schedule start anew, with a lower learning rate.
"""

import dataclasses
import logging
import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.compat import v1

from contract import records, training_record
from contract.warm_start import KEY, WarmStart
from trainer_module import checkpoints

log = logging.getLogger("cifar.train")

_AVERAGE = "/ExponentialMovingAverage"  # how TensorFlow names the average of a variable
_STEP = "global_step"

Shapes = dict[str, list[int]]  # by the variable's name


@dataclasses.dataclass(frozen=True)
class Start:
    """How a training starts.

    Attributes:
        version: The version whose weights it starts from; empty for random ones.
        refusal: Why it does not start from those it was to start from.
        learning_rate: The fraction of the learning rate to train with.
        variables: The checkpoint with the weights; empty for random ones.
    """

    version: str = ""
    refusal: str = ""
    learning_rate: float = 1.0
    variables: str = ""


def find(
    custom_config: Mapping[str, Any],
    checkpoint_dir: str,
    class_names: Sequence[str],
    shapes_of_network: Callable[[], Shapes],
) -> Start:
    """Returns how a training starts, or has started if it resumes.

    Args:
        custom_config: The Trainer's; says which version to start from, if any.
        checkpoint_dir: The folder that a killed training resumes from.
        class_names: The classes of the data, in label order.
        shapes_of_network: Returns the shape of each variable that the network is served with.

    Raises:
        ValueError: The version is required, but has other classes or variables, or is gone; the
            message names every difference.
    """
    if KEY not in custom_config:
        return Start()
    given = records.from_fields(WarmStart, custom_config[KEY])
    if checkpoints.newest_step(checkpoint_dir):
        record = training_record.read(checkpoint_dir)
        rate = given.learning_rate if record.start_version else 1.0
        return Start(record.start_version, record.start_refusal, rate)
    variables = posixpath.join(given.path, "variables", "variables")
    fault = given.fault or _difference(given, variables, class_names, shapes_of_network)
    if not fault:
        log.info(
            f"Training starts from the weights of version {given.version}, with "
            f"{given.learning_rate:g} of the learning rate."
        )
        return Start(given.version, learning_rate=given.learning_rate, variables=variables)
    if given.is_required:
        raise ValueError(
            f"Training cannot start from the weights of version {given.version}: {fault}. "
            "Name another with `--set warm_start=`, or start from random weights with `none`."
        )
    log.warning(f"Training starts from random weights: {fault}.")
    return Start(refusal=fault)


def with_rate(hyper_parameters: Any, start: Start) -> Any:
    """Returns the hyper-parameters with the learning rate of a start, if they have one."""
    rate = getattr(hyper_parameters, "learning_rate", None)
    if rate is None or start.learning_rate == 1:
        return hyper_parameters
    return dataclasses.replace(hyper_parameters, learning_rate=rate * start.learning_rate)


def shapes_in_graph(build: Callable[[], Any]) -> Shapes:
    """Returns the shape of each variable that a function adds to a graph, but the step's."""
    with tf.Graph().as_default():
        build()
        found = {v.op.name: v.shape.as_list() for v in v1.global_variables()}
    return {name: shape for name, shape in found.items() if name != _STEP}


class StartHook(tf.estimator.SessionRunHook):
    """Restores the weights and their averages at step 0, whatever initialized them."""

    def __init__(self, variables: str) -> None:
        """Takes the checkpoint with the weights."""
        self._variables = variables
        self._savers: list[v1.train.Saver] = []

    def begin(self) -> None:
        """Adds the operations to the graph."""
        keys = _keys_in(self._variables)
        there = {variable.op.name: variable for variable in v1.global_variables()}
        for suffix in ("", _AVERAGE):
            variables = {
                key: parts_of(there[name + suffix])
                for name, key in keys.items()
                if name + suffix in there
            }
            for device in range(max(map(len, variables.values()), default=0)):
                restored = {key: parts[device] for key, parts in variables.items()}
                self._savers.append(v1.train.Saver(restored))

    def after_create_session(self, session: v1.Session, coord: Any) -> None:
        """Restores, unless the session resumes from a checkpoint."""
        if session.run(v1.train.get_global_step()) == 0:
            for saver in self._savers:
                saver.restore(session, self._variables)


def parts_of(variable: Any) -> Sequence[Any]:
    """Returns the variable of each device, of one that several devices mirror."""
    return tuple(getattr(variable, "values", (variable,)))


def _keys_in(variables: str) -> dict[str, str]:
    """Returns the key in a served checkpoint of each variable, by the variable's name.

    An Estimator saves the averages that it serves under their own names.
    """
    keys = tf.train.load_checkpoint(variables).get_variable_to_shape_map()
    return {key.removesuffix(_AVERAGE): key for key in keys if key != _STEP}


def _difference(
    given: WarmStart,
    variables: str,
    class_names: Sequence[str],
    shapes_of_network: Callable[[], Shapes],
) -> str:
    """Returns how a version differs from the network to train; empty if it fits."""
    faults = []
    if given.class_names and list(given.class_names) != list(class_names):
        faults.append(
            f"its classes are {', '.join(given.class_names)}, those of the data "
            f"{', '.join(class_names)}"
        )
    shapes = tf.train.load_checkpoint(variables).get_variable_to_shape_map()
    there = {name: shapes[key] for name, key in _keys_in(variables).items()}
    here = shapes_of_network()
    for name in sorted(there.keys() | here.keys()):
        if name not in here:
            faults.append(f"this network has no {name}")
        elif name not in there:
            faults.append(f"it has no {name}")
        elif there[name] != here[name]:
            faults.append(f"its {name} has the shape {there[name]}, here it has {here[name]}")
    return "; ".join(faults)
