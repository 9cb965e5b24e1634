// A Kubernetes control plane for tests, in one program: etcd, kube-apiserver,
// kube-controller-manager and kubectl, built from their own sources.
package main

import (
	"errors"
	"fmt"
	"os"

	"k8s.io/component-base/version"
)

// cannotRun is the exit status where this machine cannot run a node.
const cannotRun = 2

// excuseError says why this machine cannot run a node.
type excuseError struct{ reason string }

func (e excuseError) Error() string { return "this machine cannot run a node: " + e.reason }

// statusError is the exit status of a process that has said why.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

const usage = `Usage:
  controlplane start --dir DIR [--audit=false] [--controllers=LIST] [--install=FILE] [--keep] [--node=PROGRAMS]
        Start a control plane with its state in DIR, with these controllers
        and these objects. Prints one line of JSON when it is ready and runs
        until its standard input closes. With --node it has a node, on which
        Pods run; exit status 2 means that this machine cannot run one.
        Without a node, a line of standard input such as kube-apiserver or
        etcd kills that component and starts it again; then the line of JSON
        comes again.
  controlplane kubectl ...
        Run kubectl.
  controlplane version
        Print the version of Kubernetes inside.
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	command, args := os.Args[1], os.Args[2:]
	switch command {
	case "start":
		end(start(args))
	case "kubectl":
		runKubectl(args)
	case "version":
		fmt.Println(version.Get().GitVersion)
	case guardCommand, firstCommand:
		end(runApart(command, args[0]))
	case etcdCommand, apiServerCommand, controllerManagerCommand, schedulerCommand, kubeletCommand, proxyCommand:
		runComponent(command, args)
	default:
		fmt.Fprintf(os.Stderr, "controlplane: unknown command %q\n%s", command, usage)
		os.Exit(2)
	}
}

// end ends this process as err asks.
func end(err error) {
	if err == nil {
		os.Exit(0)
	}
	if status, ok := errors.AsType[statusError](err); ok {
		os.Exit(int(status))
	}
	fmt.Fprintln(os.Stderr, "controlplane:", err)
	if _, ok := errors.AsType[excuseError](err); ok {
		os.Exit(cannotRun)
	}
	os.Exit(1)
}
