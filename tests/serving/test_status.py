import pytest
import tensorflow as tf

from serving.model_server.status import Code, ServingError, cut, cut_for_grpc, to_serving_error


def test_a_code_has_its_http_status_unless_another_is_given():
    assert ServingError(Code.INVALID_ARGUMENT, "a").http_status == 400
    assert ServingError(Code.DATA_LOSS, "a").http_status == 500  # it has no HTTP status
    assert ServingError(Code.INVALID_ARGUMENT, "a", http_status=413).http_status == 413


def test_an_error_of_tensorflow_keeps_its_code_and_its_words():
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        tf.reshape(tf.constant([1, 2, 3]), [2])
    error = to_serving_error(raised.value)
    assert (error.code, error.http_status) == (Code.INVALID_ARGUMENT, 400)
    assert "3 values" in error.message


def test_an_error_of_ours_stays_and_any_other_is_internal():
    ours = ServingError(Code.NOT_FOUND, "no such model")
    assert to_serving_error(ours) is ours
    error = to_serving_error(KeyError("x"))
    assert (error.code, error.message) == (Code.INTERNAL, "KeyError: 'x'")


def test_a_mark_says_that_there_was_more():
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "abc...TRUNCATED"


def test_grpc_errors_are_cut_at_a_kilobyte():
    """Source: grpc_status_util.cc, kErrorMessageLimit."""
    assert cut_for_grpc("a" * 1024) == "a" * 1024
    assert cut_for_grpc("a" * 1025) == "a" * 1024 + "...TRUNCATED"
    assert len(cut_for_grpc("ä" * 1025).encode()) <= 1024 + len("...TRUNCATED")
