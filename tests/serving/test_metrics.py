"""The metrics for Prometheus, under the names of TensorFlow Serving."""

import asyncio

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from serving.model_server.metrics import Histogram, Metrics

PATH = "/monitoring/prometheus/metrics"


@pytest.fixture
def samples(server):
    """Returns a function that reads the current numbers, by name and labels.

    The parser gives every counter the suffix `_total`; the C++ server's names have none.
    """

    def read() -> dict[tuple, float]:
        page = requests.get(server.rest_url + PATH, timeout=10)
        assert page.headers["Content-Type"] == "text/plain"
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page.text)
            for sample in family.samples
        }

    return read


def key(name: str, **labels: str) -> tuple:
    return (f":tensorflow:serving:{name}", frozenset(labels.items()))


def test_requests_are_counted_by_model_and_status(server, samples):
    model = "echo"  # no timed-out request of another test is still to be counted
    ok = key("request_count_total", model_name=model, status="OK")
    invalid = key("request_count_total", model_name=model, status="INVALID_ARGUMENT")
    latency = key("request_latency_count", model_name=model, API="predict", entrypoint="REST")
    before = samples()
    url = f"{server.rest_url}/v1/models/{model}:predict"
    right = '{"signature_name": "int32", "inputs": 2}'
    for body in (right, right, "{"):
        requests.post(url, data=body, timeout=10)
    after = samples()
    assert after[ok] - before.get(ok, 0) == 2
    assert after[invalid] - before.get(invalid, 0) == 1
    assert after[latency] - before.get(latency, 0) == 2


def test_the_page_takes_no_query(server):
    """Source: http_server.cc, ProcessPrometheusRequest."""
    page = requests.get(server.rest_url + PATH + "?x=1", timeout=10)
    assert (page.status_code, page.headers["Content-Type"]) == (400, "text/plain")
    assert page.text == f"Unexpected path: {PATH}?x=1. Should be {PATH}"


def test_examples_are_counted(server, samples):
    counted = key("request_example_count_total", model="half_plus_two")
    before = samples().get(counted, 0)
    body = '{"signature_name": "regress", "examples": [{"x": 1.0}, {"x": 2.0}]}'
    url = f"{server.rest_url}/v1/models/half_plus_two:regress"
    assert requests.post(url, data=body, timeout=10).ok
    assert samples()[counted] - before == 2


def test_buckets_hold_everything_up_to_their_limit():
    histogram = Histogram("h", ("model",), buckets=(10.0, 18.0))
    for value in (5, 11, 12, 100):
        histogram.observe(value, "m")
    assert histogram.lines() == [
        ':tensorflow:serving:h_bucket{model="m",le="10"} 1',
        ':tensorflow:serving:h_bucket{model="m",le="18"} 3',
        ':tensorflow:serving:h_bucket{model="m",le="+Inf"} 4',
        ':tensorflow:serving:h_sum{model="m"} 128',
        ':tensorflow:serving:h_count{model="m"} 4',
    ]


def test_a_histogram_without_labels_has_no_comma_before_its_limits():
    """Prometheus rejects a whole page that contains `{,`."""
    metrics = Metrics()
    metrics.queuing_latency.observe(5)
    lines = metrics.page().splitlines()
    name = ":tensorflow:serving:batching_session:queuing_latency"
    assert f'{name}_bucket{{le="10"}} 1' in lines
    assert f'{name}_bucket{{le="+Inf"}} 1' in lines
    assert f"{name}_sum{{}} 5" in lines
    assert f"{name}_count{{}} 1" in lines


def test_types_are_told_before_there_are_numbers():
    """Source: tensorflow_model_server_test.py, testPrometheusEndpoint."""
    lines = Metrics().page().splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    assert "# TYPE :tensorflow:serving:request_latency histogram" in lines


def test_labels_are_escaped():
    metrics = Metrics()
    metrics.request_count.add('a"b\\c\nd', "OK")
    assert (
        r':tensorflow:serving:request_count{model_name="a\"b\\c\nd",status="OK"} 1'
        in metrics.page()
    )


def test_a_request_that_its_client_cancels_is_not_counted_as_ok():
    metrics = Metrics()
    with pytest.raises(asyncio.CancelledError), metrics.request("m", "Predict", "GRPC"):
        raise asyncio.CancelledError
    page = metrics.page()
    assert 'request_count{model_name="m",status="CANCELLED"} 1' in page
    assert 'status="OK"' not in page
