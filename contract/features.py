"""The names of features and splits. Imports nothing."""

IMAGE = "image"  # bytes: height × width × RGB, a byte each
LABEL = "label"  # int64, from 0: the index of the class
KEY = "key"  # bytes: `file:record` or the picture's path, where the example came from

TRAIN_SPLIT = "train"
EVAL_SPLIT = "eval"

CHANNELS = 3  # red, green, blue
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 8, 512  # lines and columns
