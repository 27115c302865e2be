"""A model server for laptops and tests: any SavedModel, over TensorFlow Serving's protocol.

A request goes from `http_server` and `rest`, or `grpc_service`, through `manager`, which finds
the version, and `inference` or `example_apis` to `servable`, which runs the session; `batching`
puts it together with others where that is enabled. `json_*` read and write JSON.
Production runs the `tensorflow/serving` image; its clients cannot tell the two apart.
"""
