"""What a user gives `cifar kubeflow compile` that the backend or a run would refuse.

The compiler's own output is held against the backend's code and rules in tests/kubeflow. A
cluster file is checked where it is read.
"""

import re
from collections.abc import Iterator, Sequence

_IMAGE = r"[a-z0-9][-a-z0-9._/:]*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?"
_ROOT = r"(minio|s3|gs)://[^/]+.*"


def check(image: str, pipeline_root: str, settings: Sequence[str]) -> None:
    """Raises ValueError that names everything that is wrong."""
    if problems := [*_image(image), *_pipeline_root(pipeline_root), *_settings(settings)]:
        raise ValueError(
            "Kubeflow Pipelines would not run this pipeline:\n  " + "\n  ".join(problems)
        )


def _image(image: str) -> Iterator[str]:
    """The image has a name a registry knows, and always the same content."""
    name = image.rsplit("/", 1)[-1]
    if not re.fullmatch(_IMAGE, image):
        yield f"{image!r} is not the name of an image, such as registry.example.org/cifar:1"
    elif "@" not in name and (":" not in name or name.endswith(":latest")):
        yield (
            f"the image {image} has no tag or a moving one: the cache would take what another "
            "image made. Give it a version or a digest"
        )


def _pipeline_root(root: str) -> Iterator[str]:
    """Artifacts go where the launcher can put them."""
    if root and not re.fullmatch(_ROOT, root):
        yield f"the pipeline root is a bucket of minio://, s3:// or gs://, got {root!r}"


def _settings(settings: Sequence[str]) -> Iterator[str]:
    """A setting has an effect in the container, and reaches it as it is."""
    for setting in settings:
        if setting.startswith("metadata_url="):
            yield (
                "metadata_url has no effect on Kubeflow Pipelines, which keeps metadata in a "
                "store of its own. A secret a step needs comes from a Kubernetes secret: "
                "`secrets:` in the cluster file (kubeflow/cluster.yaml)"
            )
        elif "{{" in setting:
            yield f"the setting {setting!r} holds {{{{, which the launcher would replace"
