// A Kubernetes control plane for tests, in one program: etcd, kube-apiserver,
// kube-controller-manager and kubectl, built from their own sources.
package main

import (
	"fmt"
	"os"

	"k8s.io/component-base/version"
)

const usage = `Usage:
  controlplane start --dir DIR [--audit=false] [--controllers=LIST] [--install=FILE] [--keep]
        Start a control plane with its state in DIR, with these controllers
        and these objects. Prints one line of JSON when it is ready and runs
        until its standard input closes.
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
		if err := start(args); err != nil {
			fmt.Fprintln(os.Stderr, "controlplane:", err)
			os.Exit(1)
		}
	case "kubectl":
		runKubectl(args)
	case "version":
		fmt.Println(version.Get().GitVersion)
	case etcdCommand, apiServerCommand, controllerManagerCommand:
		runComponent(command, args)
	default:
		fmt.Fprintf(os.Stderr, "controlplane: unknown command %q\n%s", command, usage)
		os.Exit(2)
	}
}
