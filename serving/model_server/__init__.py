"""A model server for laptops and tests: any SavedModel, over TensorFlow Serving's protocol.

The flow of a request: `grpc_service` or `rest` (with `json_requests`) → `manager` finds the
version → `inference` → `batching`, where enabled → `servable` runs the session.
Production runs the `tensorflow/serving` image; its clients cannot tell the two apart.
"""
