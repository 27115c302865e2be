"""Messages of TensorFlow Serving and TensorFlow that none of our packages contains.

Sources: session_bundle_config.proto, saved_model_bundle_source_adapter.proto,
platform_config.proto, monitoring_config.proto and ssl_config.proto of TensorFlow Serving;
profiler_service.proto of TensorFlow.
"""

from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    wrappers_pb2,
)
from tensorflow.core.protobuf import config_pb2
from tensorflow.tsl.profiler.protobuf import profiler_options_pb2

_INT64, _STRING, _BOOL = (
    "google.protobuf.Int64Value",
    "google.protobuf.StringValue",
    "google.protobuf.BoolValue",
)
_REPEATED, _MAP = "repeated ", "map "

# Fields by message: number and type. `repeated` or `map` (with strings as keys) may precede
# the type.
_SERVING: dict[str, dict[str, tuple[int, str]]] = {
    "BatchingParameters": {
        "max_batch_size": (1, _INT64),
        "batch_timeout_micros": (2, _INT64),
        "max_enqueued_batches": (3, _INT64),
        "num_batch_threads": (4, _INT64),
        "thread_pool_name": (5, _STRING),
        "allowed_batch_sizes": (6, _REPEATED + "int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, _BOOL),
        "max_execution_batch_size": (9, _INT64),
    },
    "ModelWarmupOptions": {"num_request_iterations": (1, "google.protobuf.Int32Value")},
    "SessionBundleConfig": {
        "session_target": (1, "string"),
        "session_config": (2, "tensorflow.ConfigProto"),
        "batching_parameters": (3, "tensorflow.serving.BatchingParameters"),
        "saved_model_tags": (6, _REPEATED + "string"),
        "enable_model_warmup": (779, "bool"),
        "model_warmup_options": (780, "tensorflow.serving.ModelWarmupOptions"),
    },
    "SavedModelBundleSourceAdapterConfig": {
        "legacy_config": (1000, "tensorflow.serving.SessionBundleConfig")
    },
    "PlatformConfig": {"source_adapter_config": (1, "google.protobuf.Any")},
    "PlatformConfigMap": {"platform_configs": (1, _MAP + "tensorflow.serving.PlatformConfig")},
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, "tensorflow.serving.PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
}
_TENSORFLOW: dict[str, dict[str, tuple[int, str]]] = {
    "ProfileRequest": {
        "duration_ms": (1, "uint64"),
        "max_events": (2, "uint64"),
        "tools": (3, _REPEATED + "string"),
        "opts": (4, "tensorflow.ProfileOptions"),
        "repository_root": (5, "string"),
        "session_id": (6, "string"),
        "host_name": (7, "string"),
    },
    "ProfileToolData": {"name": (1, "string"), "data": (2, "bytes")},
    "ProfileResponse": {
        "tool_data": (6, _REPEATED + "tensorflow.ProfileToolData"),
        "empty_trace": (7, "bool"),
    },
    "MonitorRequest": {"duration_ms": (1, "uint64")},
    "TerminateRequest": {"session_id": (1, "string")},
    "TerminateResponse": {},
}
_DEPENDENCIES = (any_pb2, wrappers_pb2, config_pb2, profiler_options_pb2)


def _file(package: str, messages: dict) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"serving/model_server/{package}.proto",
        package=package,
        syntax="proto3",
        dependency=[module.DESCRIPTOR.name for module in _DEPENDENCIES],
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add_field(message, field, number, kind, f".{package}.{name}")
    return file


def _add_field(
    message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str, parent: str
) -> None:
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if " " in kind else field.LABEL_OPTIONAL
    if kind.startswith(_MAP):
        entry = message.nested_type.add(name="".join(map(str.title, name.split("_"))) + "Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "string", parent)
        _add_field(entry, "value", 2, kind.removeprefix(_MAP), parent)
        field.type, field.type_name = field.TYPE_MESSAGE, f"{parent}.{entry.name}"
        return
    kind = kind.removeprefix(_REPEATED)
    if "." in kind:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{kind}"
    else:
        field.type = field.Type.Value(f"TYPE_{kind.upper()}")


def _messages() -> dict[str, Any]:
    """Returns the message classes.

    They need a separate pool. In the default pool, the messages they refer to would be created
    again, and TensorFlow would no longer recognize its own messages by their class.
    """
    pool = descriptor_pool.DescriptorPool()
    for module in _DEPENDENCIES:
        _add_file(pool, module.DESCRIPTOR, set())
    factory: Any = message_factory.MessageFactory(pool)
    classes = {}
    for package, messages in (("tensorflow.serving", _SERVING), ("tensorflow", _TENSORFLOW)):
        pool.Add(_file(package, messages))
        for name in messages:
            descriptor = pool.FindMessageTypeByName(f"{package}.{name}")
            classes[name] = factory.GetPrototype(descriptor)
    return classes


def _add_file(pool: descriptor_pool.DescriptorPool, file: Any, added: set[str]) -> None:
    """Adds a file to a pool, after those it depends on."""
    if file.name not in added:
        added.add(file.name)
        for dependency in file.dependencies:
            _add_file(pool, dependency, added)
        pool.AddSerializedFile(file.serialized_pb)


_CLASSES = _messages()
BatchingParameters = _CLASSES["BatchingParameters"]
MonitoringConfig = _CLASSES["MonitoringConfig"]
MonitorRequest = _CLASSES["MonitorRequest"]
PlatformConfigMap = _CLASSES["PlatformConfigMap"]
ProfileRequest = _CLASSES["ProfileRequest"]
ProfileResponse = _CLASSES["ProfileResponse"]
SavedModelBundleSourceAdapterConfig = _CLASSES["SavedModelBundleSourceAdapterConfig"]
SSLConfig = _CLASSES["SSLConfig"]
TerminateRequest = _CLASSES["TerminateRequest"]
TerminateResponse = _CLASSES["TerminateResponse"]
