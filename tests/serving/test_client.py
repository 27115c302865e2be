"""Our client: images in, classes out, by either protocol."""

import io

import numpy as np
import pytest
from PIL import Image

from data_sources.cifar_format import CIFAR10
from serving.client import GrpcClient, PredictionError, RestClient
from tests.conftest import CLASS_COLOURS

CLASS_NAMES = CIFAR10.class_names


def encoded(colour: tuple[int, int, int], size=(32, 32), file_format="PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, file_format)
    return content.getvalue()


def test_pixels_have_the_class_of_their_colour(client):
    images = np.zeros((10, 32, 32, 3), np.uint8) + np.uint8(CLASS_COLOURS)[:, None, None]
    predictions = client.classify_pixels(images)
    assert [p.class_id for p in predictions] == list(range(10))
    assert [p.class_name for p in predictions] == list(CLASS_NAMES)
    for p in predictions:
        assert len(p.probabilities) == 10
        assert p.probability == max(p.probabilities)
        assert sum(p.probabilities) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "GIF"])
def test_files_of_any_size_have_the_class_of_their_colour(client, file_format):
    sizes = ((32, 32), (1, 1), (500, 20))
    images = [encoded(CLASS_COLOURS[4], size, file_format) for size in sizes]
    assert [p.class_id for p in client.classify(images)] == [4, 4, 4]


def test_both_protocols_agree_to_the_last_bit(server):
    noise = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    rest = RestClient(server.rest_url, "colours").classify_pixels(noise)
    grpc = GrpcClient(server.grpc_target, "colours").classify_pixels(noise)
    for by_rest, by_grpc in zip(rest, grpc, strict=True):
        assert np.float32(by_rest.probabilities).tolist() == list(by_grpc.probabilities)


def test_nothing_asked_nothing_answered(client):
    assert client.classify([]) == []


def test_server_s_refusal_is_the_error(client):
    with pytest.raises(PredictionError, match="Unknown image file format"):
        client.classify([b"no image"])


def test_server_that_is_not_there_is_named():
    with pytest.raises(PredictionError, match=r"127\.0\.0\.1:9.*`cifar serve`"):
        RestClient("127.0.0.1:9").classify([b""])
    with pytest.raises(PredictionError, match=r"127\.0\.0\.1:9.*`cifar serve`"):
        GrpcClient("127.0.0.1:9").classify([b""])
