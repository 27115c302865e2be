package main

import (
	"github.com/kubeflow/pipelines/backend/src/apiserver/model"
	"github.com/kubeflow/pipelines/backend/src/apiserver/template"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// workflow returns the Argo Workflow of a run, as JSON: what the API server does with an
// uploaded file and the parameters of a run (resource_manager.go: CreateRun), Argo's own
// validation included.
func workflow(text []byte, runID, namespace, parameters string) ([]byte, error) {
	uploaded, err := template.New(text)
	if err != nil {
		return nil, err
	}
	run := &model.Run{DisplayName: runID, Namespace: namespace}
	run.RuntimeConfig.Parameters = parameters
	execution, err := uploaded.RunWorkflow(run, template.RunWorkflowOptions{RunId: runID})
	if err != nil {
		return nil, err
	}
	if err := execution.Validate(false, false); err != nil {
		return nil, err
	}
	return []byte(execution.ToStringForStore()), nil
}

// patch returns a pod spec with a strategic merge patch applied, as Argo's controller does
// with the driver's patch (workflow/controller/workflowpod.go: createWorkflowPod).
func patch(podSpec, driversPatch []byte) ([]byte, error) {
	return strategicpatch.StrategicMergePatch(podSpec, driversPatch, core.PodSpec{})
}
