"""The classic network in NumPy and float64, written from its description alone."""

import numpy as np

Weights = dict[str, np.ndarray]


def activations(images: np.ndarray, weights: Weights) -> dict[str, np.ndarray]:
    """Returns the output of each layer, in the classic order of operations.

    Args:
        images: float64, shape (n, 24, 24, 3).
        weights: float64, by name: `conv1/weights`, `conv1/biases` and so on.
    """
    conv1 = relu(convolve(images, weights["conv1/weights"]) + weights["conv1/biases"])
    norm1 = normalize(max_pool(conv1))
    conv2 = relu(convolve(norm1, weights["conv2/weights"]) + weights["conv2/biases"])
    pool2 = max_pool(normalize(conv2))
    flat = pool2.reshape(len(images), -1)
    local3 = relu(flat @ weights["local3/weights"] + weights["local3/biases"])
    local4 = relu(local3 @ weights["local4/weights"] + weights["local4/biases"])
    logits = local4 @ weights["softmax_linear/weights"] + weights["softmax_linear/biases"]
    return {
        "conv1": conv1,
        "conv2": conv2,
        "local3": local3,
        "local4": local4,
        "softmax_linear": logits,
    }


def total_loss(images: np.ndarray, labels: np.ndarray, weights: Weights) -> float:
    """Returns the mean cross-entropy plus 0.004 · ½ Σ w² of both dense kernels."""
    logits = activations(images, weights)["softmax_linear"]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    cross_entropy = -log_probabilities[np.arange(len(labels)), labels].mean()
    squares = sum((weights[f"{name}/weights"] ** 2).sum() for name in ("local3", "local4"))
    return float(cross_entropy + 0.004 * squares / 2)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns the sum over a 5×5 window around each pixel, zeros beyond the border."""
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(5)
        for j in range(5)
    )


def max_pool(x: np.ndarray) -> np.ndarray:
    """Returns the maximum of each 3×3 window, two pixels apart.

    For an even size, "SAME" adds one line after the last and none before the first.
    """
    half = x.shape[1] // 2
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
    windows = [
        padded[:, i : i + 2 * half : 2, j : j + 2 * half : 2]
        for i in range(3)
        for j in range(3)
    ]
    return np.max(windows, axis=0)


def normalize(x: np.ndarray) -> np.ndarray:
    """Returns x / (1 + 0.001/9 · sum of squares of channels at most 4 away)^0.75."""
    channels = x.shape[-1]
    sums = np.empty_like(x)
    for channel in range(channels):
        near = x[..., max(0, channel - 4) : channel + 5]
        sums[..., channel] = (near**2).sum(axis=-1)
    return x / (1 + 0.001 / 9 * sums) ** 0.75
