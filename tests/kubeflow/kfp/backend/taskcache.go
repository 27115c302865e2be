package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"

	api "github.com/kubeflow/pipelines/backend/api/v1beta1/go_client"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
)

// taskCache is the API server's TaskService with its tasks in memory: the driver asks it for
// an execution with the same fingerprint, the launcher tells it of each that succeeded.
type taskCache struct {
	api.UnimplementedTaskServiceServer
	lock  sync.Mutex
	tasks []*api.Task // oldest first
}

func serveTaskCache(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	api.RegisterTaskServiceServer(server, &taskCache{})
	return server.Serve(listener)
}

func (cache *taskCache) CreateTaskV1(
	_ context.Context, request *api.CreateTaskRequest,
) (*api.Task, error) {
	cache.lock.Lock()
	defer cache.lock.Unlock()
	task := request.GetTask()
	task.Id = strconv.Itoa(len(cache.tasks) + 1)
	cache.tasks = append(cache.tasks, task)
	return task, nil
}

func (cache *taskCache) ListTasksV1(
	_ context.Context, request *api.ListTasksRequest,
) (*api.ListTasksResponse, error) {
	filter := &api.Filter{}
	if err := protojson.Unmarshal([]byte(request.GetFilter()), filter); err != nil {
		return nil, err
	}
	if request.GetSortBy() != "created_at desc" || request.GetPageSize() != 1 {
		return nil, fmt.Errorf("only the newest task is looked up, got %v", request)
	}
	cache.lock.Lock()
	defer cache.lock.Unlock()
	for _, task := range slices.Backward(cache.tasks) {
		if matches(task, filter) {
			return &api.ListTasksResponse{Tasks: []*api.Task{task}, TotalSize: 1}, nil
		}
	}
	return &api.ListTasksResponse{}, nil
}

// matches says whether a task has all the values a filter asks for.
func matches(task *api.Task, filter *api.Filter) bool {
	values := map[string]string{
		"fingerprint":  task.GetFingerprint(),
		"pipelineName": task.GetPipelineName(),
		"namespace":    task.GetNamespace(),
	}
	for _, predicate := range filter.GetPredicates() {
		value, known := values[predicate.GetKey()]
		if !known || value != predicate.GetStringValue() {
			return false
		}
	}
	return true
}
