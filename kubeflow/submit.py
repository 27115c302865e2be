"""Submits a compiled pipeline to a Kubeflow Pipelines API server and watches the run."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kfp_server_api
import urllib3
import yaml

ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
PAGE_SIZE = 100
RETRIED_STATUSES = (502, 503, 504)
HEALTH = "asking for its health"


@dataclasses.dataclass(frozen=True)
class Server:
    """The address of the API, and the credentials."""

    url: str = "http://localhost:8888"
    namespace: str = ""  # in a multi-user installation
    token_file: str = ""  # read for each request, because a pod's token changes every hour
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    timeout_seconds: float = 30.0
    retries: int = 5  # of requests that are safe to repeat


class Client:
    """The API of one server; its errors say what to do."""

    def __init__(self, server: Server) -> None:
        """Checks that the server answers.

        Raises:
            ConnectionError: Nothing answers.
            PermissionError: The server rejects the credentials.
            ValueError: The server is not Kubeflow Pipelines 2.x.
        """
        configuration = kfp_server_api.Configuration(host=server.url.rstrip("/"))
        configuration.retries = urllib3.Retry(
            server.retries,
            allowed_methods=["GET"],  # anything else is repeated only if it was never sent
            status_forcelist=RETRIED_STATUSES,
            backoff_factor=0.2,
            raise_on_status=False,
        )
        if server.token_file:
            configuration.api_key_prefix["authorization"] = "Bearer"
            configuration.refresh_api_key_hook = lambda self: self.api_key.update(
                authorization=Path(server.token_file).read_text().strip()
            )
            configuration.api_key["authorization"] = Path(server.token_file).read_text().strip()
        self._server = server
        # A pair, because the client ignores a single number that is not whole.
        self._timeout = {"_request_timeout": (server.timeout_seconds,) * 2}
        api = kfp_server_api.ApiClient(configuration)
        for name, value in server.headers.items():
            api.set_default_header(name, value)
        self._experiments = kfp_server_api.ExperimentServiceApi(api)
        self._pipelines = kfp_server_api.PipelineServiceApi(api)
        self._recurring_runs = kfp_server_api.RecurringRunServiceApi(api)
        self._runs = kfp_server_api.RunServiceApi(api)
        self._uploads = kfp_server_api.PipelineUploadServiceApi(api)
        with self._explained(HEALTH):
            health = kfp_server_api.HealthzServiceApi(api)
            _, status, headers = health.healthz_service_get_healthz_with_http_info(
                **self._timeout
            )
        if "text/html" in headers.get("Content-Type", ""):
            page = kfp_server_api.ApiException(status=status)
            page.headers = headers
            raise explain(page, server.url, HEALTH)

    def upload(self, path: Path, version: str = "") -> tuple[str, str]:
        """Returns the ids of the pipeline and of its version with a file's content.

        If no pipeline has the name in the file, creates it; otherwise adds a version. The
        default name of a version comes from its content, so the same file is not uploaded
        twice.
        """
        content = path.read_bytes()
        name = yaml.safe_load_all(content).__next__()["pipelineInfo"]["name"]
        version = version or f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
        pipeline_id = self._find_or_make_pipeline(name, path)
        if found := self._find_version(pipeline_id, version):
            return pipeline_id, found
        with self._explained(f"uploading version {version} of {name}"):
            made = self._uploads.upload_pipeline_version(
                str(path), name=version, pipelineid=pipeline_id, **self._timeout
            )
        return pipeline_id, made.pipeline_version_id

    def _find_or_make_pipeline(self, name: str, path: Path) -> str:
        namespace = {"namespace": self._server.namespace} if self._server.namespace else {}
        with self._explained(f"looking for the pipeline {name}"):
            try:
                found = self._pipelines.pipeline_service_get_pipeline_by_name(
                    name, **namespace, **self._timeout
                )
                return found.pipeline_id
            except kfp_server_api.ApiException as error:
                if error.status != 404 or is_web_page(error):
                    raise
        with self._explained(f"uploading {path}"):
            made = self._uploads.upload_pipeline(
                str(path), name=name, **namespace, **self._timeout
            )
            return made.pipeline_id

    def _find_version(self, pipeline_id: str, version: str) -> str:
        versions = self._listed(
            "listing the pipeline's versions",
            functools.partial(
                self._pipelines.pipeline_service_list_pipeline_versions, pipeline_id
            ),
            "pipeline_versions",
        )
        for found in versions:
            if version in (found.display_name, found.name):
                return str(found.pipeline_version_id)
        return ""

    def _listed(self, doing: str, ask: Callable[..., Any], field: str) -> Iterator[Any]:
        """Yields the items of a list, page by page."""
        token = ""
        while True:
            with self._explained(doing):
                page = ask(page_size=PAGE_SIZE, page_token=token, **self._timeout)
            yield from getattr(page, field) or []
            token = page.next_page_token or ""
            if not token:
                return

    def find_or_make_experiment(self, name: str) -> str:
        """Returns the id of the experiment with a name; creates it if needed."""
        experiment = kfp_server_api.V2beta1Experiment(
            display_name=name, namespace=self._server.namespace or None
        )
        with self._explained(f"making the experiment {name}"):
            try:
                made = self._experiments.experiment_service_create_experiment(
                    experiment, **self._timeout
                )
                return made.experiment_id
            except kfp_server_api.ApiException as error:
                if error.status != 409:
                    raise
        with self._explained(f"looking for the experiment {name}"):
            found = self._experiments.experiment_service_list_experiments(
                filter=_is_called(name),
                **({"namespace": self._server.namespace} if self._server.namespace else {}),
                **self._timeout,
            )
        if not found.experiments:
            raise ValueError(f"The server has an experiment {name} but does not list it.")
        return found.experiments[0].experiment_id

    def start_run(
        self,
        name: str,
        pipeline: tuple[str, str],
        experiment_id: str,
        parameters: Mapping[str, Any],
        pipeline_root: str = "",
        service_account: str = "",
    ) -> str:
        """Starts a run of a pipeline's version and returns its id."""
        run = kfp_server_api.V2beta1Run(
            display_name=name,
            **_what_to_run(pipeline, experiment_id, parameters, pipeline_root, service_account),
        )
        with self._explained(f"starting the run {name}"):
            return self._runs.run_service_create_run(run, **self._timeout).run_id

    def schedule(
        self,
        name: str,
        cron: str,
        pipeline: tuple[str, str],
        experiment_id: str,
        parameters: Mapping[str, Any],
        pipeline_root: str = "",
        service_account: str = "",
    ) -> tuple[str, list[str]]:
        """Schedules recurring runs, one at a time.

        Replaces a schedule of the same name in the experiment; otherwise two runs would start
        at once.

        Args:
            name: The name of the schedule.
            cron: Six fields, seconds first: `0 0 3 * * *` is every night at three.
            pipeline: The ids of the pipeline and of its version.
            experiment_id: Where the runs are listed.
            parameters: The parameters of every run.
            pipeline_root: Where artifacts go; empty: as the pipeline says.
            service_account: The account that the steps run as.

        Returns:
            The schedule's id, and the ids of those it replaces.
        """
        replaced = self._find_schedules(name, experiment_id)
        trigger = kfp_server_api.V2beta1Trigger(
            cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=check_cron(cron))
        )
        recurring = kfp_server_api.V2beta1RecurringRun(
            display_name=name,
            trigger=trigger,
            mode="ENABLE",
            max_concurrency="1",
            no_catchup=True,
            **_what_to_run(pipeline, experiment_id, parameters, pipeline_root, service_account),
        )
        with self._explained(f"making the schedule {name}"):
            made = self._recurring_runs.recurring_run_service_create_recurring_run(
                recurring, **self._timeout
            )
        for schedule_id in replaced:
            with self._explained(f"deleting the schedule {schedule_id} that it replaces"):
                self._recurring_runs.recurring_run_service_delete_recurring_run(
                    schedule_id, **self._timeout
                )
        return made.recurring_run_id, replaced

    def _find_schedules(self, name: str, experiment_id: str) -> list[str]:
        found = self._listed(
            f"looking for schedules called {name}",
            functools.partial(
                self._recurring_runs.recurring_run_service_list_recurring_runs,
                experiment_id=experiment_id,
                filter=_is_called(name),
            ),
            "recurring_runs",
        )
        return [each.recurring_run_id for each in found]

    def watch(
        self,
        run_id: str,
        say: Callable[[str], None],
        poll_seconds: float = 5.0,
        timeout_seconds: float = 0.0,
    ) -> str:
        """Reports each step's state until the run has ended, and returns the run's state.

        Raises:
            TimeoutError: The run has not ended in time; it continues.
        """
        deadline = time.monotonic() + timeout_seconds if timeout_seconds else None
        seen: dict[str, str] = {}
        while True:
            with self._explained(f"asking for the run {run_id}"):
                run = self._runs.run_service_get_run(run_id, **self._timeout)
            tasks = (run.run_details.task_details if run.run_details else None) or []
            for task in tasks:
                if task.state and seen.get(task.display_name) != task.state:
                    seen[task.display_name] = task.state
                    ended = sum(state in ENDED for state in seen.values())
                    reason = f": {task.error.message}" if task.error else ""
                    say(f"  {task.display_name:<20} {task.state}{reason}  ({ended} ended)")
            if run.state in ENDED:
                reason = f": {run.error.message}" if run.error else ""
                say(f"The run {run_id} {run.state}{reason}")
                return run.state
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(
                    f"The run {run_id} is still {run.state} after {timeout_seconds:.0f} s and "
                    f"continues. `cifar kubeflow watch {run_id}` watches it again, `cifar "
                    f"kubeflow terminate {run_id}` stops it."
                )
            time.sleep(poll_seconds)

    def terminate(self, run_id: str) -> None:
        """Ends a run."""
        with self._explained(f"ending the run {run_id}"):
            self._runs.run_service_terminate_run(run_id, **self._timeout)

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Turns the client's errors into ones that say what to do."""
        url = self._server.url
        try:
            yield
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise ConnectionError(
                f"No Kubeflow Pipelines API answers at {url} while {doing} ({reason}). "
                "From outside a cluster: `kubectl port-forward -n kubeflow svc/ml-pipeline "
                "8888:8888`, then --server http://localhost:8888."
            ) from error
        except kfp_server_api.ApiException as error:
            raise explain(error, url, doing) from error


def explain(error: kfp_server_api.ApiException, url: str, doing: str) -> Exception:
    """Returns the error to raise for a response other than 2xx."""
    said = message_of(error)
    if error.status in (401, 403):
        return PermissionError(
            f"{url} refused while {doing} ({error.status}: {said}). Pass a token with "
            "--token-file, or what your installation requires with --header NAME=VALUE, and a "
            "--namespace that you may use."
        )
    if is_web_page(error):
        return ValueError(
            f"{url} answers with a web page while {doing} ({error.status}): it is not the API "
            "of Kubeflow Pipelines 2.x (v2beta1), or a login page is in front of it."
        )
    if error.status == 404 and doing == HEALTH:
        return ValueError(
            f"{url} has no API v2beta1: Kubeflow Pipelines 2.5 or newer is needed ({said})."
        )
    if error.status == 409:
        return ValueError(f"{url} already has one of that name while {doing}: {said}")
    if error.status and error.status >= 500:
        return ConnectionError(f"{url} failed while {doing} ({error.status}: {said}).")
    return ValueError(f"{url} refused while {doing} ({error.status}: {said}).")


def message_of(error: kfp_server_api.ApiException) -> str:
    """Returns the server's message, on one line."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    try:
        said = json.loads(body or "")
        text = said.get("error_message") or said.get("message") or said.get("error") or body
    except (ValueError, AttributeError):
        text = body or error.reason or "nothing"
    return " ".join(str(text).split())[:500]


def is_web_page(error: kfp_server_api.ApiException) -> bool:
    """Returns whether the response is a web page."""
    return "text/html" in str((error.headers or {}).get("Content-Type", ""))


def check_cron(cron: str) -> str:
    """Returns a schedule; raises ValueError without seconds, which Kubeflow adds to cron."""
    if len(cron.split()) != 6:
        raise ValueError(
            "A schedule needs six fields, seconds first (`0 0 3 * * *` is every night at "
            f"three), got {cron!r}."
        )
    return cron


def read_parameters(path: Path, given: Sequence[str]) -> dict[str, Any]:
    """Returns `name=value` parameters of a run, with the types in the compiled file.

    Raises:
        ValueError: One has no `=`, is not a parameter of the pipeline, or has another type.
    """
    with path.open() as file:
        root = next(yaml.safe_load_all(file))["root"]
    definitions = root["inputDefinitions"]["parameters"]
    values: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or name not in definitions:
            raise ValueError(
                f"{each!r} does not set a parameter; expected NAME=VALUE. Parameters: "
                f"{', '.join(sorted(definitions))}."
            )
        values[name] = text
        if definitions[name]["parameterType"] == "NUMBER_INTEGER":
            try:
                values[name] = int(text)
            except ValueError:
                raise ValueError(f"{name} must be a whole number, got {text!r}.") from None
    return values


def _is_called(name: str) -> str:
    """Returns a list filter that keeps items with this display name."""
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [predicate]})


def _what_to_run(
    pipeline: tuple[str, str],
    experiment_id: str,
    parameters: Mapping[str, Any],
    pipeline_root: str,
    service_account: str,
) -> dict[str, Any]:
    """Returns the fields that a run and a schedule share."""
    pipeline_id, version_id = pipeline
    return {
        "experiment_id": experiment_id,
        "pipeline_version_reference": kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=pipeline_id, pipeline_version_id=version_id
        ),
        "runtime_config": kfp_server_api.V2beta1RuntimeConfig(
            parameters=dict(parameters), pipeline_root=pipeline_root or None
        ),
        "service_account": service_account or None,
    }
