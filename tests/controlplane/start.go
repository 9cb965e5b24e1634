// The command `start`: brings a control plane up, says so, and takes it down
// again when its parent has gone.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
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
	// Process is the first one in the namespaces of the node, for nsenter.
	Process int `json:"process,omitempty"`
}

// options are what `start` is told.
type options struct {
	Dir         string
	Controllers string
	Install     string
	Audit, Keep bool
	// AllVersions are those too that an API server serves only if it is told to.
	AllVersions bool
	// Node is the directory of the node's programs, if the cluster shall have a node.
	Node string
}

// running names the controllers.
func (o options) running() []string {
	switch {
	case o.Controllers != "":
		return strings.Split(o.Controllers, ",")
	case o.Node != "":
		return slices.Concat(controllers, nodeControllers)
	default:
		return controllers
	}
}

func parse(args []string) (options, error) {
	var options options
	flags := flag.NewFlagSet("start", flag.ExitOnError)
	flags.StringVar(&options.Dir, "dir", "", "`directory` for all state, to be created or empty (required)")
	flags.BoolVar(&options.Audit, "audit", true, "write audit.log")
	flags.BoolVar(&options.AllVersions, "all-versions", false, "serve the versions too that are off by default")
	flags.StringVar(&options.Controllers, "controllers", "", "the controllers to run, a `list` with commas")
	flags.StringVar(&options.Install, "install", "", "`file` of objects to create before any controller runs")
	flags.BoolVar(&options.Keep, "keep", false, "leave the directory behind even if start created it")
	flags.StringVar(&options.Node, "node", "", "`directory` of the programs that ../node/build makes, for a cluster with a node")
	_ = flags.Parse(args)
	if options.Dir == "" || flags.NArg() > 0 {
		return options, errors.New("start needs --dir DIR and takes no arguments")
	}
	return options, nil
}

func start(args []string) (err error) {
	options, err := parse(args)
	if err != nil {
		return err
	}
	if options.Node != "" {
		if options.Node, err = filepath.Abs(options.Node); err != nil {
			return err
		}
		if err := canRunNode(options.Node); err != nil {
			return err
		}
	}
	path, created, err := makeDir(options.Dir)
	if err != nil {
		return err
	}
	options.Dir = path
	options.Keep = options.Keep || !created
	// A later defer runs earlier: the children are dead before their files go.
	if !options.Keep {
		defer func() { err = errors.Join(err, os.RemoveAll(path)) }()
	}
	if options.Node != "" {
		return startApart(options)
	}
	port, err := holdPort()
	if err != nil {
		return err
	}
	return run(options, place{bind: "127.0.0.1", advertise: "127.0.0.1", port: port, outside: port})
}

// place is where a cluster is.
type place struct {
	// bind is the address at which the API server listens, advertise the one under which others know it.
	bind, advertise string
	port            int
	// outside is the port of 127.0.0.1 at which tests reach it.
	outside int
	// process is the first one of the node's namespaces, as the machine numbers it; 0 without a node.
	process int
}

// run keeps a cluster up until it is asked to end.
func run(options options, place place) error {
	ctx, end := context.WithCancelCause(context.Background())
	restarts := make(chan string)
	go func() {
		<-asked(restarts)
		end(errAsked)
	}()
	runtime.LockOSThread()
	children := &children{end: end}
	defer children.killAll()

	line, err := bringUp(ctx, children, place, options)
	for err == nil {
		if err = json.NewEncoder(os.Stdout).Encode(line); err != nil {
			break
		}
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case name := <-restarts:
			err = restart(ctx, children, options.Dir, name)
		}
	}
	if errors.Is(err, errAsked) {
		return nil
	}
	return err
}

// restart returns when the control plane can be used again.
func restart(ctx context.Context, children *children, dir, name string) error {
	if err := children.restart(dir, name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, errNotReady)
	defer cancel()
	api, err := connect(filesIn(dir).nodeKubeconfig)
	if err == nil {
		err = api.await(ctx, "/readyz", answered)
	}
	if errors.Is(err, errNotReady) {
		err = fmt.Errorf("%w after a restart\n%s", err, children.tails())
	}
	return err
}

// asked returns a channel that closes with a signal or with the end of standard
// input, whose lines go to the channel lines unless that is nil.
func asked(lines chan<- string) <-chan struct{} {
	asked := make(chan struct{})
	var once sync.Once
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		once.Do(func() { close(asked) })
	}()
	go func() {
		input := bufio.NewScanner(os.Stdin)
		for input.Scan() {
			if lines != nil {
				lines <- input.Text()
			}
		}
		once.Do(func() { close(asked) })
	}()
	return asked
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

// bringUp returns when the cluster can be used. The controller manager
// starts last because it looks for the API server only once a second.
func bringUp(ctx context.Context, children *children, place place, options options) (ready, error) {
	f := filesIn(options.Dir)
	if len(f.etcdSocket) > longestSocketPath {
		return ready{}, fmt.Errorf("%s is too long a path for a socket", f.etcdSocket)
	}
	if err := writeFiles(f, place); err != nil {
		return ready{}, err
	}
	spawn := func(name, command string, args []string) error {
		program, err := component(name, command, args)
		if err != nil {
			return err
		}
		return children.spawn(options.Dir, program)
	}
	if err := spawn("etcd", etcdCommand, etcdArgs(f)); err != nil {
		return ready{}, err
	}
	if err := spawn("kube-apiserver", apiServerCommand, apiServerArgs(f, place, options)); err != nil {
		return ready{}, err
	}

	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, errNotReady)
	defer cancel()
	api, err := connect(f.nodeKubeconfig)
	if err != nil {
		return ready{}, err
	}
	if place.process != 0 {
		err = startRuntime(children, f, options.Node)
	}
	if err == nil {
		err = api.await(ctx, "/readyz", answered)
	}
	if err == nil && options.Install != "" {
		err = create(ctx, f.nodeKubeconfig, options.Install)
	}
	if err == nil {
		args := controllerManagerArgs(f, options.running())
		err = spawn("kube-controller-manager", controllerManagerCommand, args)
	}
	if err == nil && place.process != 0 {
		err = startNode(ctx, children, api, f, options.Node)
	}
	if err == nil {
		// The controllers work: one of them made this, and without it there are no Pods.
		err = api.await(ctx, "/api/v1/namespaces/default/serviceaccounts/default", answered)
	}
	if errors.Is(err, errNotReady) {
		err = fmt.Errorf("%w\n%s", err, children.tails())
	}
	if err != nil {
		return ready{}, err
	}
	line := ready{
		Kubeconfig: f.kubeconfig,
		Server:     server(place.outside),
		Version:    version.Get().GitVersion,
		Process:    place.process,
	}
	if options.Audit {
		line.AuditLog = f.auditLog
	}
	return line, nil
}
