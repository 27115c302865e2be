"""Classifies pixels over gRPC, the fast way for many images.

Needs tensorflow-serving-api. Usage: python classify_grpc.py [HOST:PORT [MODEL]]
"""

import sys

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

server = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8500"
model = sys.argv[2] if len(sys.argv) > 2 else "cifar10"

images = np.zeros((2, 32, 32, 3), np.uint8)  # height, width, RGB; 0 to 255, not scaled
images[1] = (240, 20, 20)

request = predict_pb2.PredictRequest()
request.model_spec.name = model
request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
with grpc.insecure_channel(server) as channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.Predict(request, timeout=30)

for name in response.outputs["classes"].string_val:
    print(name.decode())
