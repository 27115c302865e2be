"""Checks the arguments of `cifar kubeflow compile` that the backend or a run would reject.

tests/kubeflow checks the compiler's output against the backend's code and rules. The cluster
file is checked when it is read.
"""

import re
from collections.abc import Iterator, Sequence

_IMAGE = r"[a-z0-9][-a-z0-9._/:]*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?"
_ROOT = r"(minio|s3|gs)://[^/]+.*"
_NO_EFFECT = {
    "data": "name the data with `compile --data`, or for each run with `submit -p data=`",
    "data_dir": "name the data with `compile --data`, or for each run with `submit -p data=`",
    "serving_dir": "name the serving root for each run with `submit -p push_destination=`",
    "keep_runs": "`cifar kubeflow clean --keep` says how many trainings stay on the volume",
    "metadata_url": "it has its own metadata store. Pass secrets to steps from Kubernetes "
    "secrets: `secrets:` in the cluster file (kubeflow/cluster.yaml)",
}


def check(
    image: str,
    pipeline_root: str = "",
    settings: Sequence[str] = (),
    mount_path: str = "/mnt/cifar10",
) -> None:
    """Raises ValueError with every problem found."""
    problems = [
        *_image(image),
        *_pipeline_root(pipeline_root),
        *_settings(settings),
        *_predict_batch(settings, mount_path),
    ]
    if problems:
        raise ValueError(
            "Kubeflow Pipelines would not run this pipeline:\n  " + "\n  ".join(problems)
        )


def _image(image: str) -> Iterator[str]:
    """The image has a valid name, which always means the same content."""
    name = image.rsplit("/", 1)[-1]
    if not re.fullmatch(_IMAGE, image):
        yield f"{image!r} is not the name of an image, such as registry.example.org/cifar:1"
    elif "@" not in name and (":" not in name or name.endswith(":latest")):
        yield (
            f"the image {image} has no tag or a moving one, so the cache would return results "
            "of other images. Give it a version or a digest"
        )


def _pipeline_root(root: str) -> Iterator[str]:
    """The launcher can write to the pipeline root."""
    if root and not re.fullmatch(_ROOT, root):
        yield f"the pipeline root must be a minio://, s3:// or gs:// bucket, got {root!r}"


def _settings(settings: Sequence[str]) -> Iterator[str]:
    """A setting reaches the container unchanged, and has an effect there."""
    for setting in settings:
        name = setting.partition("=")[0]
        if name in _NO_EFFECT:
            yield f"{name} has no effect on Kubeflow Pipelines: {_NO_EFFECT[name]}"
        elif "{{" in setting:
            yield f"the setting {setting!r} contains {{{{, which the launcher would replace"


def _predict_batch(settings: Sequence[str], mount_path: str) -> Iterator[str]:
    """What is to be predicted is on the volume."""
    for setting in settings:
        name, _, path = setting.partition("=")
        if name == "predict_batch" and path and not path.startswith(f"{mount_path}/"):
            yield f"predict_batch must be a path on the volume, below {mount_path}, got {path}"
