"""`cifar-beam-worker`, which an engine starts to run our code, in place of Beam's boot.

Beam's boot, a program in its container images, creates a virtual environment and installs the
job's packages. Here every worker already has this project installed, which the driver checks
(see probe.py). So a worker only asks the engine for its addresses and options.
The contract: https://beam.apache.org/documentation/runtime/environments, and
sdks/python/container/boot.go of Beam 2.61.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

import grpc
from apache_beam.portability.api import (
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    endpoints_pb2,
)
from google.protobuf import json_format, text_format

ANSWER_SECONDS = 60


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs bundles for the engine until it hangs up."""
    os.dup2(2, 1)  # Beam's own worker pool passes a pipe that it never reads
    options = parse(sys.argv[1:] if arguments is None else arguments)
    info = ask(options.provision_endpoint, options.id)
    os.environ.update(environment(options, info))
    from apache_beam.runners.worker import sdk_worker_main, worker_id_interceptor

    # It reads the variable when it is imported, which a worker pool has done already.
    worker_id_interceptor.WorkerIdInterceptor._worker_id = options.id
    sdk_worker_main.main([])


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the addresses that an engine passes; ignores other arguments."""
    parser = argparse.ArgumentParser(prog="cifar-beam-worker", allow_abbrev=False)
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    parser.add_argument("--control_endpoint", default="")
    parser.add_argument("--logging_endpoint", default="")
    options = parser.parse_known_args(arguments)[0]
    options.id = options.id.strip("'")  # Prism 2.73 quotes it as for a shell
    return options


def ask(provision_endpoint: str, worker_id: str) -> beam_provision_api_pb2.ProvisionInfo:
    """Returns the engine's information for this worker.

    Raises:
        grpc.RpcError: The engine does not answer.
    """
    with grpc.insecure_channel(provision_endpoint) as channel:
        return (
            beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
            .GetProvisionInfo(
                beam_provision_api_pb2.GetProvisionInfoRequest(),
                metadata=(("worker_id", worker_id),),
                timeout=ANSWER_SECONDS,
                wait_for_ready=True,
            )
            .info
        )


def environment(
    options: argparse.Namespace, info: beam_provision_api_pb2.ProvisionInfo
) -> Mapping[str, str]:
    """Returns the variables for Beam's harness; `info` overrides the arguments."""
    control = info.control_endpoint.url or options.control_endpoint
    logging = info.logging_endpoint.url or options.logging_endpoint
    return {
        "WORKER_ID": options.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(control),
        "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(logging),
    }


def _descriptor(url: str) -> str:
    return str(text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url)))
