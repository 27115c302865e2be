"""Muon, an optimizer that moves a weight matrix equally in all its directions.

K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse and J. Bernstein, "Muon: An
optimizer for hidden layers in neural networks" (2024),
https://kellerjordan.github.io/posts/muon
"""

from collections.abc import Mapping

import tensorflow as tf
from tensorflow.compat import v1

# a·s + b·s³ + c·s⁵ raises a small s as fast as possible and keeps a large one near 1. The
# values are from the page above; five steps end between 0.68 and 1.13.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_EPSILON = 1e-12


class MuonOptimizer(v1.train.MomentumOptimizer):
    """Muon for the kernels of some layers, gradient descent with momentum for the rest.

    A kernel W with the gradient G moves by

        M ← μ·M + G
        U ← orthogonalized(G + μ·M), as a matrix of one column for each output
        W ← W - learning_rate · (update_rms · U / rms(U) + weight_decay · W)

    where rms(U) is the root mean square of its values. M is the slot `momentum`, as in
    MomentumOptimizer: float32, and part of every checkpoint.

    The weight decay is decoupled (I. Loshchilov and F. Hutter, "Decoupled weight decay
    regularization", 2019): an L2 loss would only turn U, which has the same size for every G.
    """

    def __init__(
        self,
        learning_rate: tf.Tensor | float,
        momentum: float,
        layers: Mapping[str, float],
        layers_momentum: float,
        steps: int,
        weight_decay: float,
    ) -> None:
        """Takes the parameters of the updates.

        Args:
            learning_rate: For all weights; float32, a scalar.
            momentum: For the weights that Muon does not move, a fraction.
            layers: The variable scopes whose kernels Muon moves, each with update_rms: the
                size of the kernel's update per weight, in learning rates.
            layers_momentum: μ, a fraction.
            steps: The number of Newton–Schulz steps.
            weight_decay: The part of a kernel to subtract at each step, in learning rates.
        """
        super().__init__(learning_rate, momentum)
        self._layers = dict(layers)
        self._layers_momentum = layers_momentum
        self._steps = steps
        self._weight_decay = weight_decay

    def _resource_apply_dense(self, grad: tf.Tensor, var: tf.Variable) -> tf.Operation:
        layer, _, _ = var.name.partition("/")
        if layer not in self._layers or var.shape.rank < 2:
            return super()._resource_apply_dense(grad, var)
        slot = self.get_slot(var, "momentum")
        momentum = self._layers_momentum * slot + grad
        direction = orthogonalized(grad + self._layers_momentum * momentum, self._steps)
        rms = tf.sqrt(tf.reduce_mean(tf.square(direction)))
        update = self._layers[layer] / (rms + _EPSILON) * direction + self._weight_decay * var
        return tf.group(
            slot.assign(momentum), var.assign_sub(self._learning_rate_tensor * update)
        )


def orthogonalized(values: tf.Tensor, steps: int) -> tf.Tensor:
    """Returns approximately U·Vᵀ of the singular value decomposition U·S·Vᵀ.

    A Newton–Schulz step is X ← a·X + b·(X·Xᵀ)·X + c·(X·Xᵀ)²·X. It keeps U and V, and maps every
    singular value s to a·s + b·s³ + c·s⁵. With the Gram matrix A = X·Xᵀ, a step is X ← P·X and
    A ← P·A·P, where P = a·I + b·A + c·A². So the steps only involve the small matrices, and X,
    which is many times larger, is multiplied once at the end.

    Args:
        values: float32, rank 2 or more; a matrix whose columns are the last dimension.
        steps: The number of steps; each multiplies a small singular value by 3.4.

    Returns:
        float32, the shape of `values`.
    """
    a, b, c = _COEFFICIENTS
    matrix = tf.reshape(values, [-1, values.shape[-1]])
    rows, columns = matrix.shape
    is_tall = rows > columns
    matrix = matrix / (tf.norm(matrix) + _EPSILON)  # now no singular value exceeds 1
    gram = tf.matmul(matrix, matrix, transpose_a=is_tall, transpose_b=not is_tall)
    identity = tf.eye(min(rows, columns))
    product = None
    for _ in range(steps):
        step = a * identity + b * gram + c * (gram @ gram)
        product = step if product is None else step @ product
        gram = step @ gram @ step
    stepped = matrix @ product if is_tall else product @ matrix
    return tf.reshape(stepped, values.shape)
