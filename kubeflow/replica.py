"""The command of every pod of a TFJob: its part of the Trainer's work.

The Trainer step has put the node's inputs on the shared volume, and beside them a file that
says where they are and where the outputs go. TF_CONFIG says which part is whose.
"""

import logging
import os
import sys
import traceback
from pathlib import Path

from contract import imports

with imports.fast():
    from tfx.components.trainer import executor
    from tfx.components.util import udf_utils
    from tfx.utils import json_utils

log = logging.getLogger("cifar.replica")


def main(execution_file: str) -> int:
    """Trains, evaluates or exports as TF_CONFIG says; returns the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, force=True)
    try:
        inputs, outputs, parameters = json_utils.loads(Path(execution_file).read_text())
        fn_args = executor.GenericExecutor()._GetFnArgs(inputs, outputs, parameters)
        udf_utils.get_fn(parameters, "run_fn")(fn_args)
    except Exception as error:
        traceback.print_exc()
        print(f"Error: {error or repr(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    # A TensorFlow server has threads that would keep the process from ending.
    os._exit(code)
