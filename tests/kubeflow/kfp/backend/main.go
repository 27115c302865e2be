// Command backend lends the tests what Kubeflow Pipelines does between an upload and a pod.
//
//	backend workflow RUN_ID NAMESPACE PARAMETERS < pipeline.yaml   prints the Argo Workflow
//	backend patch PATCH < pod-spec.json                            prints the patched pod spec
//	backend task-cache ADDRESS                                     serves the task cache
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 4 && arguments[0] == "workflow":
		return convert(func(text []byte) ([]byte, error) {
			return workflow(text, arguments[1], arguments[2], arguments[3])
		})
	case len(arguments) == 2 && arguments[0] == "patch":
		return convert(func(podSpec []byte) ([]byte, error) {
			return patch(podSpec, []byte(arguments[1]))
		})
	case len(arguments) == 2 && arguments[0] == "task-cache":
		return serveTaskCache(arguments[1])
	}
	return fmt.Errorf("no such command or number of arguments: %q", arguments)
}

// convert writes to the standard output what a function makes of the standard input.
func convert(function func([]byte) ([]byte, error)) error {
	given, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	made, err := function(given)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(made)
	return err
}
