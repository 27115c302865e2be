"""The compiled YAML, run step by step as Kubeflow's driver and launcher would."""

from tests.kubeflow.backend import NEW, OLD


def test_a_step_writes_its_output_where_the_launcher_uploads_it(backend, pipeline_yaml):
    for launcher in (OLD, NEW):
        steps = backend.run(pipeline_yaml, launcher, only="ImportSchemaGen")
        uri = steps["ImportSchemaGen"].outputs["schema"].uri
        (key,) = backend.store.keys(uri.split("/", 3)[3])
        assert b'name: "image"' in backend.store.get(key)
