// The command `start`: brings a control plane up, says so, and takes it down
// again when its parent has gone.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"k8s.io/component-base/version"
)

// readyTimeout is what the slowest machine may need; three seconds are usual.
const readyTimeout = 2 * time.Minute

// errAsked says that the end is what the caller wanted.
var errAsked = errors.New("asked to stop")

// ready is the one line that `start` prints.
type ready struct {
	Kubeconfig string `json:"kubeconfig"`
	Server     string `json:"server"`
	AuditLog   string `json:"audit_log"`
	Version    string `json:"version"`
}

// options are what a control plane can do without, or gets beyond.
type options struct {
	controllers string
	install     string
	audit       bool
}

func start(args []string) (err error) {
	flags := flag.NewFlagSet("start", flag.ExitOnError)
	dir := flags.String("dir", "", "`directory` for all state, to be created or empty (required)")
	audit := flags.Bool("audit", true, "write audit.log")
	running := flags.String("controllers", strings.Join(controllers, ","), "the controllers to run, a `list` with commas")
	install := flags.String("install", "", "`file` of objects to create before any controller runs")
	keep := flags.Bool("keep", false, "leave the directory behind even if start created it")
	_ = flags.Parse(args)
	if *dir == "" || flags.NArg() > 0 {
		return errors.New("start needs --dir DIR and takes no arguments")
	}

	ctx, end := context.WithCancelCause(context.Background())
	endWhenAsked(end)

	path, created, err := makeDir(*dir)
	if err != nil {
		return err
	}
	// A later defer runs earlier: the children are dead before their files go.
	if created && !*keep {
		defer func() { err = errors.Join(err, os.RemoveAll(path)) }()
	}
	runtime.LockOSThread()
	children := &children{end: end}
	defer children.killAll()

	line, err := bringUp(ctx, children, path, options{*running, *install, *audit})
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(line)
	}
	if err == nil {
		<-ctx.Done()
		err = context.Cause(ctx)
	}
	if errors.Is(err, errAsked) {
		return nil
	}
	return err
}

// endWhenAsked watches for a signal and for the end of standard input.
func endWhenAsked(end context.CancelCauseFunc) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		end(errAsked)
	}()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end(errAsked)
	}()
}

// makeDir returns the absolute path of dir and whether it had to be created.
func makeDir(dir string) (path string, created bool, err error) {
	path, err = filepath.Abs(dir)
	if err != nil {
		return "", false, err
	}
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return path, true, os.MkdirAll(path, 0o700)
	case err == nil && len(entries) > 0:
		return "", false, fmt.Errorf("%s is not empty", path)
	default:
		return path, false, err
	}
}

// bringUp returns when the control plane can be used. The controller manager
// starts last because it looks for the API server only once a second.
func bringUp(ctx context.Context, children *children, dir string, options options) (ready, error) {
	f := filesIn(dir)
	if len(f.etcdSocket) > longestSocketPath {
		return ready{}, fmt.Errorf("%s is too long a path for a socket", f.etcdSocket)
	}
	port, err := holdPort()
	if err != nil {
		return ready{}, err
	}
	server := fmt.Sprintf("https://127.0.0.1:%d", port)
	if err := writeFiles(f, server); err != nil {
		return ready{}, err
	}
	if err := children.spawn(dir, "etcd", etcdCommand, etcdArgs(f)); err != nil {
		return ready{}, err
	}
	if err := children.spawn(dir, "kube-apiserver", apiServerCommand, apiServerArgs(f, port, options.audit)); err != nil {
		return ready{}, err
	}

	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, errNotReady)
	defer cancel()
	api, err := connect(f.kubeconfig)
	if err != nil {
		return ready{}, err
	}
	err = api.await(ctx, "/readyz")
	if err == nil && options.install != "" {
		err = create(ctx, f.kubeconfig, options.install)
	}
	if err == nil {
		err = children.spawn(dir, "kube-controller-manager", controllerManagerCommand, controllerManagerArgs(f, options.controllers))
	}
	if err == nil {
		// The controllers work: one of them made this, and without it there are no Pods.
		err = api.await(ctx, "/api/v1/namespaces/default/serviceaccounts/default")
	}
	if errors.Is(err, errNotReady) {
		err = fmt.Errorf("%w\n%s", err, children.tails())
	}
	if err != nil {
		return ready{}, err
	}
	line := ready{Kubeconfig: f.kubeconfig, Server: server, Version: version.Get().GitVersion}
	if options.audit {
		line.AuditLog = f.auditLog
	}
	return line, nil
}
