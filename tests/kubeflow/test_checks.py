"""Arguments that are rejected before compiling, and why."""

import pytest

from kubeflow import checks

IMAGE = "registry.test/cifar:1"
REFUSED = {
    "no image": (("", "", []), "'' is not the name of an image"),
    "capitals": (("Cifar:1", "", []), "'Cifar:1' is not the name of an image"),
    "no tag": (("registry.test:5000/cifar", "", []), "no tag or a moving one"),
    "a moving tag": (("cifar:latest", "", []), "no tag or a moving one"),
    "a root on a disk": ((IMAGE, "/mnt/artifacts", []), "must be a minio://"),
    "a root without a bucket": ((IMAGE, "s3://", []), "gs:// bucket, got 's3://'"),
    "an input that is not on the volume": (
        (IMAGE, "", ["predict_batch=/mnt/cifar100/inbox"]),
        "below /mnt/cifar10, got /mnt/cifar100/inbox",
    ),
    "data as a setting": (
        (IMAGE, "", ["data=/mnt/cifar10/data"]),
        "data has no effect on Kubeflow Pipelines: name the data with `compile --data`",
    ),
    "a folder of fetched data": ((IMAGE, "", ["data_dir=/data"]), "`submit -p data=`"),
    "a serving root": (
        (IMAGE, "", ["serving_dir=/mnt/cifar10/models"]),
        "serving_dir has no effect on Kubeflow Pipelines: name the serving root for each run "
        "with `submit -p push_destination=`",
    ),
    "runs to keep": ((IMAGE, "", ["keep_runs=3"]), "`cifar kubeflow clean --keep`"),
    "a placeholder": ((IMAGE, "", ["seed={{$}}"]), "'seed={{$}}' contains {{"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_backend_would_refuse_is_named(name):
    given, expected = REFUSED[name]
    with pytest.raises(ValueError, match="Kubeflow Pipelines would not run") as error:
        checks.check(*given)
    assert expected in str(error.value)


def test_everything_that_is_wrong_is_named_at_once():
    with pytest.raises(ValueError, match="no tag") as error:
        checks.check("cifar", "/mnt", ["seed={{1}}"])
    assert len(str(error.value).splitlines()) == 4


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        "cifar:1",
        "registry.test:5000/a/b:v1.2_3",
        f"registry.test/cifar@sha256:{'0' * 64}",
    ],
)
@pytest.mark.parametrize("root", ["", "s3://bucket/root", "minio://mlpipeline", "gs://b"])
def test_what_the_backend_takes_passes(image, root):
    checks.check(image, root, ["seed=1"])
