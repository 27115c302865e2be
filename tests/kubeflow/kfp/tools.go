//go:build tools

// The commands of Kubeflow Pipelines that are built beside our own.
package kfp

import (
	_ "github.com/kubeflow/pipelines/backend/src/v2/cmd/driver"
	_ "github.com/kubeflow/pipelines/backend/src/v2/cmd/launcher-v2"
)
