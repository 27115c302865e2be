"""A model server for laptops and tests: any SavedModel, over TensorFlow Serving's protocol.

A request arrives through `http_server` and `rest`, or through `grpc_service`. `manager` finds
the version, `inference` or `example_apis` checks the request, and `servable` runs the session;
`batching`, if enabled, combines concurrent requests. `json_*` read and write JSON.
Production runs the `tensorflow/serving` image; clients cannot tell the two apart.
"""
