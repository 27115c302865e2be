"""A compiled pipeline, given to a Kubeflow Pipelines API server and watched to its end."""

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
    """Where the API is, and who asks."""

    url: str = "http://localhost:8888"
    namespace: str = ""  # of a multi-user installation
    token_file: str = ""  # read anew for each request: a pod's token changes every hour
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    timeout_seconds: float = 30.0
    retries: int = 5  # of what is safe to repeat


class Client:
    """The API of one server; its errors say what to do."""

    def __init__(self, server: Server) -> None:
        """Asks the server whether it is there.

        Raises:
            ConnectionError: Nothing answers.
            PermissionError: The credentials are not taken.
            ValueError: What answers is no Kubeflow Pipelines 2.x.
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
        # As a pair: the client ignores one number that is no whole number.
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
        """Returns the pipeline's id and the id of its version that holds a file.

        The pipeline is made where there is none of the name in the file; else it gets a new
        version. Without a name for it, a version is named after its content: a file that is
        there already is not uploaded again.
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
        """Yields what a list holds, page by page."""
        token = ""
        while True:
            with self._explained(doing):
                page = ask(page_size=PAGE_SIZE, page_token=token, **self._timeout)
            yield from getattr(page, field) or []
            token = page.next_page_token or ""
            if not token:
                return

    def find_or_make_experiment(self, name: str) -> str:
        """Returns the id of the experiment of a name."""
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
            raise ValueError(f"The server has an experiment {name} and does not show it.")
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
        """Lets a run start again and again, one at a time.

        A schedule that the experiment has of that name is replaced: with two of them, two runs
        would start at once.

        Args:
            name: What the schedule is called.
            cron: Six fields, seconds first: `0 0 3 * * *` is every night at three.
            pipeline: Its id and its version's.
            experiment_id: Where the runs are listed.
            parameters: Of every run.
            pipeline_root: Where artifacts go; empty: what the pipeline says.
            service_account: What the steps run as.

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
        """Says what each step does until the run has ended, and returns its state.

        Raises:
            TimeoutError: It has not ended in time; it goes on.
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
                    f"goes on. `cifar kubeflow watch {run_id}` looks again, `cifar kubeflow "
                    f"terminate {run_id}` ends it."
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
    """Returns what an answer other than 2xx means."""
    said = message_of(error)
    if error.status in (401, 403):
        return PermissionError(
            f"{url} refused while {doing} ({error.status}: {said}). Give a token with "
            "--token-file, or what your installation asks for with --header NAME=VALUE, and "
            "the --namespace you may use."
        )
    if is_web_page(error):
        return ValueError(
            f"{url} answers with a web page while {doing} ({error.status}): it is no API of "
            "Kubeflow Pipelines 2.x (v2beta1), or a login is in front of it."
        )
    if error.status == 404 and doing == HEALTH:
        return ValueError(
            f"{url} has no API v2beta1: Kubeflow Pipelines 2.5 or newer is needed ({said})."
        )
    if error.status == 409:
        return ValueError(f"{url} has one of that name already while {doing}: {said}")
    if error.status and error.status >= 500:
        return ConnectionError(f"{url} failed while {doing} ({error.status}: {said}).")
    return ValueError(f"{url} refused while {doing} ({error.status}: {said}).")


def message_of(error: kfp_server_api.ApiException) -> str:
    """Returns what the server said, in one line."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    try:
        said = json.loads(body or "")
        text = said.get("error_message") or said.get("message") or said.get("error") or body
    except (ValueError, AttributeError):
        text = body or error.reason or "nothing"
    return " ".join(str(text).split())[:500]


def is_web_page(error: kfp_server_api.ApiException) -> bool:
    """Returns whether the answer was made for a browser."""
    return "text/html" in str((error.headers or {}).get("Content-Type", ""))


def check_cron(cron: str) -> str:
    """Returns a schedule, or raises ValueError: Kubeflow counts in seconds, cron does not."""
    if len(cron.split()) != 6:
        raise ValueError(
            "A schedule has six fields, seconds first: `0 0 3 * * *` is every night at three, "
            f"got {cron!r}."
        )
    return cron


def read_parameters(path: Path, given: Sequence[str]) -> dict[str, Any]:
    """Returns `name=value` parameters of a run, each of the type the compiled file asks for.

    Raises:
        ValueError: One has no `=`, is no parameter of the pipeline, or has another type.
    """
    with path.open() as file:
        root = next(yaml.safe_load_all(file))["root"]
    definitions = root["inputDefinitions"]["parameters"]
    values: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or name not in definitions:
            raise ValueError(
                f"{each!r} is no name=value of a parameter. Parameters: "
                f"{', '.join(sorted(definitions))}."
            )
        values[name] = text
        if definitions[name]["parameterType"] == "NUMBER_INTEGER":
            try:
                values[name] = int(text)
            except ValueError:
                raise ValueError(f"{name} is a whole number, got {text!r}.") from None
    return values


def _is_called(name: str) -> str:
    """Returns the filter of a list that leaves what has a display name."""
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
