"""One training step, for tests to look into."""

import dataclasses

import numpy as np
import tensorflow as tf
from tensorflow.compat import v1

from data_sources.cifar_format import CIFAR10
from trainer_module import model
from trainer_module.hyper_parameters import REFERENCE, HyperParameters
from trainer_module.preprocessing import STANDARDIZED_IMAGE

# Convolutions start from 1e-4 in the classic recipe, too small to make an error visible.
CONFIG = dataclasses.replace(REFERENCE, conv_stddev=5e-2, batch_size=4, learning_rate=0.1)


class Step:
    """One training step on four fixed images, in its own graph and session."""

    def __init__(self, hyper_parameters: HyperParameters) -> None:
        draws = np.random.default_rng(0)
        self.images = draws.normal(size=(4, 24, 24, 3)).astype(np.float32)
        self.labels = np.array([3, 0, 9, 3])
        self.graph = tf.Graph()
        with self.graph.as_default():
            v1.set_random_seed(1)
            v1.train.get_or_create_global_step()
            batch = {STANDARDIZED_IMAGE: tf.constant(self.images)}
            params = {
                "hyper_parameters": hyper_parameters,
                "num_train_examples": 100,
                "class_names": CIFAR10.class_names,
            }
            self.spec = model.model_fn(batch, tf.constant(self.labels), "train", params)
            self.session = v1.Session()
            self.session.run(v1.global_variables_initializer())
            self.gradients = dict(
                zip(
                    [variable.op.name for variable in v1.trainable_variables()],
                    tf.gradients(self.spec.loss, v1.trainable_variables()),
                    strict=True,
                )
            )

    def weights(self, suffix: str = "") -> dict[str, np.ndarray]:
        with self.graph.as_default():
            trainable = [variable.op.name for variable in v1.trainable_variables()]
            variables = {v.op.name: v for v in v1.global_variables()}
            names = {name: variables[name + suffix] for name in trainable}
            return {name: v.astype(float) for name, v in self.session.run(names).items()}
