"""The same pipeline on another runner: Kubeflow Pipelines 2.x."""
