"""The same pipeline, given to another runner: Kubeflow Pipelines 2.x."""
