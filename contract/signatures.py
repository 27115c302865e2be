"""The signatures of the SavedModel: how servers, clients and the gate call it."""

PIXELS = "serving_default"  # `images`: uint8, (n, 32, 32, 3)
IMAGE_FILES = "predict_image_bytes"  # `image_bytes`: PNG or JPEG of any size
EXAMPLES = "predict_examples"  # `examples`: serialized tf.Examples
CLASSIFY = "classify"  # `examples` as well, for TensorFlow Serving's Classify
