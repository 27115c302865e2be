"""The effect of flags inside the server."""

import os

import pytest

from serving.model_server.command_line import parse_command_line
from serving.model_server.config import session_config

ALL_BUT_ONE = max(1, (os.cpu_count() or 1) - 1)


@pytest.mark.parametrize(
    ("flags", "intra_op", "inter_op"),
    [
        ([], ALL_BUT_ONE, 0),
        (["--tensorflow_session_parallelism=3"], 3, 3),
        (["--tensorflow_intra_op_parallelism=5"], 5, 0),
        (["--tensorflow_inter_op_parallelism=5"], ALL_BUT_ONE, 5),
        (["--tensorflow_session_parallelism=3", "--tensorflow_intra_op_parallelism=5"], 5, 0),
    ],
)
def test_flags_say_how_many_threads_a_session_uses(flags, intra_op, inter_op):
    session = session_config(parse_command_line(["--model_base_path=m", *flags]))
    assert session.intra_op_parallelism_threads == intra_op
    assert session.inter_op_parallelism_threads == inter_op
