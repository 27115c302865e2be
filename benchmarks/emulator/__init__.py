"""Emulates a Kubeflow Pipelines cluster: its driver and launcher, on this machine."""
