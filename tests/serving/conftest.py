"""Fixtures for talking to the shared server."""

from collections.abc import Iterator

import grpc
import pytest
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.client import Client, GrpcClient, RestClient
from serving.model_server.process import ServerProcess
from tests.serving import saved_models
from tests.shared_server import REFERENCE, Reference


@pytest.fixture
def only_ours() -> None:
    """Skips a test if another server is under test."""
    if REFERENCE:
        pytest.skip("about the server of this repository")


@pytest.fixture(scope="session")
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    """A gRPC channel to the shared server."""
    with grpc.insecure_channel(server.grpc_target) as channel:
        yield channel


@pytest.fixture(scope="session")
def prediction_service(channel):
    """The stub of PredictionService."""
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="session")
def model_service(channel):
    """The stub of ModelService."""
    return model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture(params=["rest", "grpc"])
def client(request: pytest.FixtureRequest, server: ServerProcess | Reference) -> Client:
    """Our client of the shared server, for each protocol."""
    if request.param == "rest":
        return RestClient(server.rest_url, saved_models.COLOURS)
    return GrpcClient(server.grpc_target, saved_models.COLOURS)
