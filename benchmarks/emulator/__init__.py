"""A stand-in for a cluster with Kubeflow Pipelines: what its driver and launcher do, here."""
