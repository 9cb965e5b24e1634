// Waiting until the control plane can be used.
package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// pollInterval is short against the three seconds that a start takes.
const pollInterval = 20 * time.Millisecond

var errNotReady = errors.New("the control plane was not ready in time")

// api asks the API server as the administrator.
type api struct {
	client *http.Client
	server string
}

func connect(kubeconfig string) (*api, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "controlplane"
	config.Timeout = 5 * time.Second
	client, err := rest.HTTPClientFor(config)
	return &api{client: client, server: config.Host}, err
}

// await returns when path is answered with 200 and a body that suffices, or with the cause of ctx's end.
func (a *api) await(ctx context.Context, path string, suffices func(body []byte) bool) error {
	for !a.answers(ctx, path, suffices) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollInterval):
		}
	}
	return nil
}

// answered takes any body.
func answered([]byte) bool { return true }

func (a *api) answers(ctx context.Context, path string, suffices func([]byte) bool) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.server+path, nil)
	if err != nil {
		return false
	}
	response, err := a.client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return err == nil && response.StatusCode == http.StatusOK && suffices(body)
}
