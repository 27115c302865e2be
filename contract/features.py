"""Names, shapes and classes every stage agrees on. Imports nothing."""

IMAGE = "image"  # bytes: 3,072 values, height × width × RGB
LABEL = "label"  # int64, 0 to 9
KEY = "key"  # bytes: `file:record`, where the example came from

TRAIN_SPLIT = "train"
EVAL_SPLIT = "eval"

IMAGE_SIZE = 32
CHANNELS = 3
IMAGE_BYTES = IMAGE_SIZE * IMAGE_SIZE * CHANNELS

# Source: batches.meta.txt of https://www.cs.toronto.edu/~kriz/cifar.html, in label order.
CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
NUM_CLASSES = len(CLASS_NAMES)
