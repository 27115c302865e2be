"""ProfilerService, which TensorBoard's “capture profile” calls."""

import logging
import re
import threading
from pathlib import Path
from typing import Any

import grpc
from tensorflow.python.profiler.internal import _pywrap_profiler

from serving.model_server import protos
from serving.model_server.grpc_service import handler
from serving.model_server.status import Code, ServingError, invalid

SERVICE = "tensorflow.ProfilerService"
MAX_SECONDS = 3600
_UNSAFE = re.compile(r"[^\w.+-]|^\.+")

_log = logging.getLogger(__name__)


class ProfilerService:
    """Records TensorFlow profiles, one at a time."""

    def __init__(self) -> None:
        self._is_profiling = threading.Lock()
        self._is_terminated = threading.Event()

    def handlers(self) -> grpc.GenericRpcHandler:
        """Returns the gRPC handlers."""
        methods = {
            "Profile": handler(protos.ProfileRequest, self._profile),
            "Terminate": handler(protos.TerminateRequest, self._terminate),
            "Monitor": handler(protos.MonitorRequest, self._monitor),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _profile(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Writes `<repository_root>/<session_id>/<host_name>.xplane.pb`, as TensorFlow does."""
        if not request.repository_root:
            raise invalid("A ProfileRequest needs a repository_root to write to.")
        xspace = self._recorded(request)
        folder = Path(request.repository_root) / _UNSAFE.sub("_", request.session_id)
        folder.mkdir(parents=True, exist_ok=True)
        name = _UNSAFE.sub("_", request.host_name or "localhost")
        (folder / f"{name}.xplane.pb").write_bytes(xspace)
        _log.info("Wrote a profile of %d ms to %s", request.duration_ms, folder)
        return protos.ProfileResponse(empty_trace=not xspace)

    def _recorded(self, request: Any) -> bytes:
        """Returns an XSpace that covers the requested time."""
        if request.duration_ms > MAX_SECONDS * 1000:
            raise invalid(f"A profile takes at most {MAX_SECONDS} s.")
        if not self._is_profiling.acquire(blocking=False):
            raise ServingError(Code.ALREADY_EXISTS, "Another profiling session is running.")
        try:
            self._is_terminated.clear()
            session = _pywrap_profiler.ProfilerSession()
            options = request.opts
            session.start(
                request.repository_root,
                {
                    "host_tracer_level": options.host_tracer_level or 2,
                    "device_tracer_level": options.device_tracer_level or 1,
                    "python_tracer_level": options.python_tracer_level,
                },
            )
            self._is_terminated.wait(request.duration_ms / 1000)
            return session.stop()
        finally:
            self._is_profiling.release()

    def _terminate(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._is_terminated.set()
        return protos.TerminateResponse()

    def _monitor(self, request: Any, context: grpc.ServicerContext) -> Any:
        raise ServingError(Code.UNIMPLEMENTED, "unimplemented.")  # as in TensorFlow
