"""A Kubeflow Pipelines 2.x API server that records requests, over real HTTP.

Paths, methods, names of fields and errors are those of backend/api/v2beta1/*.proto. It
rejects unknown paths and fields, so a wrong one fails a test. It also accepts what `kfp.Client`
sends, so that the two can be compared.
"""

import dataclasses
import email.parser
import email.policy
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE_SIZE = 2  # small, so that lists have pages
Answer = tuple[int, Any]
NOT_FOUND = (404, {"error": "not found", "code": 5, "message": "ResourceNotFoundError"})


def refusal(status: int, message: str) -> Answer:
    return status, {"error": message, "code": 6, "message": message}


@dataclasses.dataclass
class ApiServer:
    """The server's state, and the failures it injects."""

    url: str = ""
    token: str = ""  # required if not empty
    requests: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    headers: list[dict[str, str]] = dataclasses.field(default_factory=list)
    pipelines: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    experiments: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    schedules: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    failures: list[Answer] = dataclasses.field(default_factory=list)  # returned first, in order
    progress: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # of a run

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        """Returns status and JSON of one request."""
        for (verb, pattern), handler in ROUTES.items():
            match = re.fullmatch(f"/apis/v2beta1{pattern}", path)
            if match and verb == method:
                return handler(self, query, body, *match.groups())
        return NOT_FOUND

    def health(self, query, body) -> Answer:
        return 200, {"multi_user": False}

    def pipeline_by_name(self, query, body, name) -> Answer:
        found = [one for one in self.pipelines.values() if one["name"] == name]
        return (200, found[0]) if found else NOT_FOUND

    def list_pipelines(self, query, body) -> Answer:
        only(query, *LIST_FIELDS, "namespace")
        return 200, page_of(self.pipelines.values(), "pipelines", query)

    def upload_pipeline(self, query, body) -> Answer:
        only(query, "name", "display_name", "description", "namespace")
        if any(one["name"] == query["name"] for one in self.pipelines.values()):
            return refusal(409, "AlreadyExists")
        made = {"pipeline_id": str(uuid.uuid4()), "name": query["name"]}
        made["display_name"] = query.get("display_name", query["name"])
        self.pipelines[made["pipeline_id"]] = made
        self._add_version(made["pipeline_id"], query["name"], body)
        return 200, made

    def upload_version(self, query, body) -> Answer:
        only(query, "name", "display_name", "description", "pipelineid")
        if query["pipelineid"] not in self.pipelines:
            return NOT_FOUND
        if any(one["name"] == query["name"] for one in self.versions.values()):
            return refusal(409, "AlreadyExists")
        return 200, self._add_version(query["pipelineid"], query["name"], body)

    def _add_version(self, pipeline_id: str, name: str, content: bytes) -> dict[str, Any]:
        made = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": str(uuid.uuid4()),
            "name": name,
            "display_name": name,
        }
        self.versions[made["pipeline_version_id"]] = {**made, "content": content}
        return made

    def list_versions(self, query, body, pipeline_id) -> Answer:
        only(query, *LIST_FIELDS)
        mine = [one for one in self.versions.values() if one["pipeline_id"] == pipeline_id]
        shown = [{k: v for k, v in one.items() if k != "content"} for one in mine]
        return 200, page_of(shown, "pipeline_versions", query)

    def create_experiment(self, query, body) -> Answer:
        only(body, "display_name", "description", "namespace")
        if any(
            one["display_name"] == body["display_name"] for one in self.experiments.values()
        ):
            return refusal(409, "AlreadyExists")
        made = {"experiment_id": str(uuid.uuid4()), **body}
        self.experiments[made["experiment_id"]] = made
        return 200, made

    def list_experiments(self, query, body) -> Answer:
        only(query, *LIST_FIELDS, "namespace")
        return 200, page_of(self.experiments.values(), "experiments", query)

    def get_experiment(self, query, body, experiment_id) -> Answer:
        found = self.experiments.get(experiment_id)
        return (200, found) if found else NOT_FOUND

    def create_run(self, query, body) -> Answer:
        only(body, *RUN_FIELDS)
        self._check_references(body)
        made = {"run_id": str(uuid.uuid4()), "state": "PENDING", **body}
        self.runs[made["run_id"]] = made
        return 200, made

    def get_run(self, query, body, run_id) -> Answer:
        if run_id not in self.runs:
            return NOT_FOUND
        if self.progress:
            self.runs[run_id] |= self.progress.pop(0)
        return 200, self.runs[run_id]

    def terminate_run(self, query, body, run_id) -> Answer:
        if run_id not in self.runs:
            return NOT_FOUND
        self.runs[run_id]["state"] = "CANCELING"
        return 200, {}

    def create_schedule(self, query, body) -> Answer:
        only(body, *RUN_FIELDS, "mode", "trigger", "max_concurrency", "no_catchup")
        only(body["trigger"]["cron_schedule"], "cron", "start_time", "end_time")
        assert len(body["trigger"]["cron_schedule"]["cron"].split()) == 6
        assert body["mode"] in ("ENABLE", "DISABLE")
        self._check_references(body)
        made = {"recurring_run_id": str(uuid.uuid4()), **body}
        self.schedules[made["recurring_run_id"]] = made
        return 200, made

    def list_schedules(self, query, body) -> Answer:
        only(query, *LIST_FIELDS, "namespace", "experiment_id")
        mine = [
            one
            for one in self.schedules.values()
            if one["experiment_id"] == query.get("experiment_id", one["experiment_id"])
        ]
        return 200, page_of(mine, "recurringRuns", query)

    def delete_schedule(self, query, body, schedule_id) -> Answer:
        return (200, {}) if self.schedules.pop(schedule_id, None) else NOT_FOUND

    def _check_references(self, body: dict[str, Any]) -> None:
        """A run must name a known version, or include a file."""
        assert body["experiment_id"] in self.experiments
        if reference := body.get("pipeline_version_reference"):
            version = self.versions[reference["pipeline_version_id"]]
            assert version["pipeline_id"] == reference["pipeline_id"]
        else:
            assert body["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"]


LIST_FIELDS = ("page_size", "page_token", "sort_by", "filter")
RUN_FIELDS = (
    *("display_name", "description", "experiment_id", "pipeline_version_reference"),
    *("pipeline_spec", "runtime_config", "service_account"),
)


def page_of(items: Iterable[dict[str, Any]], field: str, query: dict[str, str]) -> Any:
    """Returns one page of the items that pass a filter."""
    left = [one for one in items if all(holds(each, one) for each in predicates(query))]
    start = int(query.get("page_token") or 0)
    page: dict[str, Any] = {field: left[start : start + PAGE_SIZE], "total_size": len(left)}
    if len(left) > start + PAGE_SIZE:
        page["next_page_token"] = str(start + PAGE_SIZE)
    return page


def predicates(query: dict[str, str]) -> list[dict[str, Any]]:
    return json.loads(query["filter"])["predicates"] if query.get("filter") else []


def holds(predicate: dict[str, Any], item: dict[str, Any]) -> bool:
    """Returns whether an item passes; accepts proto names, JSON names and numbers."""
    only(predicate, "operation", "key", "string_value", "stringValue")
    assert predicate["operation"] in ("EQUALS", 1)
    assert predicate["key"] in ("display_name", "name")
    wanted = predicate.get("string_value", predicate.get("stringValue"))
    return item.get(predicate["key"], item["display_name"]) == wanted


ROUTES: dict[tuple[str, str], Callable[..., Answer]] = {
    ("GET", "/healthz"): ApiServer.health,
    ("GET", "/pipelines/names/([^/]+)"): ApiServer.pipeline_by_name,
    ("GET", "/pipelines"): ApiServer.list_pipelines,
    ("POST", "/pipelines/upload"): ApiServer.upload_pipeline,
    ("POST", "/pipelines/upload_version"): ApiServer.upload_version,
    ("GET", "/pipelines/([^/]+)/versions"): ApiServer.list_versions,
    ("POST", "/experiments"): ApiServer.create_experiment,
    ("GET", "/experiments"): ApiServer.list_experiments,
    ("GET", "/experiments/([^/]+)"): ApiServer.get_experiment,
    ("POST", "/runs"): ApiServer.create_run,
    ("GET", "/runs/([^/:]+)"): ApiServer.get_run,
    ("POST", "/runs/([^/:]+):terminate"): ApiServer.terminate_run,
    ("POST", "/recurringruns"): ApiServer.create_schedule,
    ("GET", "/recurringruns"): ApiServer.list_schedules,
    ("DELETE", "/recurringruns/([^/]+)"): ApiServer.delete_schedule,
}


def only(given: dict[str, Any], *known: str) -> None:
    assert set(given) <= set(known), f"unknown: {set(given) - set(known)}"


@contextmanager
def serve(**options: Any) -> Iterator[ApiServer]:
    """Runs the server on a free port."""
    state = ApiServer(**options)

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            raw = self.rfile.read(length)
            url = urlsplit(self.path)
            state.requests.append((self.command, url.path))
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            if state.failures:
                status, reply = state.failures.pop(0)
            elif state.token and self.headers["Authorization"] != f"Bearer {state.token}":
                status, reply = refusal(401, "Unauthenticated")
            else:
                query = {name: value[0] for name, value in parse_qs(url.query).items()}
                try:
                    status, reply = state.answer(self.command, url.path, query, self._body(raw))
                except Exception as error:
                    status, reply = refusal(400, f"the test server refuses: {error!r}")
            self._reply(status, reply)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the names http.server calls

        def _body(self, raw: bytes) -> Any:
            """Returns the JSON of a request, or the one file of a multipart one."""
            kind = self.headers.get("Content-Type", "")
            if not kind.startswith("multipart/form-data"):
                return json.loads(raw) if raw else None
            message = email.parser.BytesParser(policy=email.policy.default).parsebytes(
                f"Content-Type: {kind}\r\n\r\n".encode() + raw
            )
            (part,) = message.iter_parts()
            assert part.get_param("name", header="content-disposition") == "uploadfile"
            return part.get_payload(decode=True)

        def _reply(self, status: int, reply: Any) -> None:
            is_page = isinstance(reply, str)
            content = reply.encode() if is_page else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if is_page else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http_server.server_port}"
    thread = threading.Thread(target=http_server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        http_server.shutdown()
        http_server.server_close()
        thread.join()
