// The three components: which flags each gets, and how each runs once it is
// a process of its own. They cannot share a process, because their global
// flags and feature gates collide.
package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
)

// The hidden sub-commands that `start` gives to its children.
const (
	etcdCommand              = "etcd"
	apiServerCommand         = "apiserver"
	controllerManagerCommand = "controller-manager"
	schedulerCommand         = "scheduler"
	kubeletCommand           = "kubelet"
	proxyCommand             = "proxy"
	guardCommand             = "guard"
	firstCommand             = "first"
)

// nodeName is the name of the Node, if there is one.
const nodeName = "node"

// The first address of the range is that of the Service `kubernetes`.
const (
	serviceRange   = "10.0.0.0/24"
	serviceAddress = "10.0.0.1"
)

// controllers are those that a test can notice. Without a kubelet and a
// scheduler, the ones that deal with nodes and volumes would have no work.
// Readiness waits for a ServiceAccount: no shorter list goes without its controller.
var controllers = []string{
	names.NamespaceController,
	names.GarbageCollectorController,
	names.ServiceAccountController,
	names.ClusterRoleAggregationController,
	names.DeploymentController,
	names.ReplicaSetController,
	names.EndpointsController,
	names.EndpointSliceController,
}

// nodeControllers are the further ones of a cluster with a node.
var nodeControllers = []string{
	names.ServiceAccountTokenController,
	names.RootCACertificatePublisherController,
	names.NodeLifecycleController,
	names.TaintEvictionController,
	names.PodGarbageCollectorController,
	names.DisruptionController,
	names.ResourceQuotaController,
	names.StatefulSetController,
	names.DaemonSetController,
	names.JobController,
}

func etcdArgs(f files) []string {
	return []string{f.etcdData, f.etcdSocket}
}

func apiServerArgs(f files, place place, options options) []string {
	args := []string{
		"--etcd-servers=unix://" + f.etcdSocket,
		"--bind-address=" + place.bind,
		"--advertise-address=" + place.advertise,
		fmt.Sprintf("--secure-port=%d", place.port),
		// `start` holds the port with a socket that does not listen.
		"--permit-port-sharing=true",
		"--service-cluster-ip-range=" + serviceRange,
		"--allow-privileged=true",

		"--cert-dir=" + f.dir,
		"--tls-cert-file=" + f.servingCert,
		"--tls-private-key-file=" + f.servingKey,
		"--client-ca-file=" + f.ca,
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + f.serviceAccountKey,
		"--service-account-signing-key-file=" + f.serviceAccountKey,

		// It compacts the history of etcd in the second interval after its start: one that is often restarted never would.
		"--etcd-compaction-interval=1m",

		"--max-requests-inflight=2000",
		"--max-mutating-requests-inflight=1000",

		// Nothing that only feeds metrics or profilers.
		"--profiling=false",
		"--enable-logs-handler=false",
		"--etcd-count-metric-poll-period=0",
		"--etcd-db-metric-poll-interval=0",
	}
	if place.process != 0 {
		args = append(args,
			"--kubelet-client-certificate="+f.kubeletClientCert,
			"--kubelet-client-key="+f.kubeletClientKey,
			// No DNS server knows the name of the node.
			"--kubelet-preferred-address-types=InternalIP",
		)
	} else {
		// Only Pods would look for the Endpoints of the Service `kubernetes`.
		args = append(args, "--endpoint-reconciler-type=none")
	}
	if options.AllVersions {
		args = append(args, "--runtime-config=api/all=true")
	}
	if options.Audit {
		args = append(args,
			"--audit-policy-file="+f.auditPolicy,
			"--audit-log-path="+f.auditLog,
			"--audit-log-format=json",
			// A line is written before the end of the response it speaks of.
			"--audit-log-mode=blocking",
			// Never rotate: readers remember byte offsets.
			"--audit-log-maxsize=1000000",
		)
	}
	return args
}

func controllerManagerArgs(f files, running []string) []string {
	return []string{
		"--kubeconfig=" + f.controllerManagerKubeconfig,
		"--controllers=" + strings.Join(running, ","),
		"--root-ca-file=" + f.ca,
		"--service-account-private-key-file=" + f.serviceAccountKey,
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
		// The default of 20 requests a second makes the deletion of a namespace slow.
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
	}
}

// runComponent turns this process into a component and does not return.
func runComponent(command string, args []string) {
	go exitWithParent()
	switch command {
	case etcdCommand:
		runEtcd(args[0], args[1])
	case apiServerCommand:
		runCobra(apiserver.NewAPIServerCommand(), args)
	case controllerManagerCommand:
		runCobra(controllermanager.NewControllerManagerCommand(), args)
	default:
		runNodeComponent(command, args)
	}
}

// exitWithParent ends the process when its standard input closes, which is
// what happens to the pipe from `start` however that process ends.
func exitWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}

func runCobra(command *cobra.Command, args []string) {
	command.SetArgs(args)
	os.Exit(cli.Run(command))
}

// runEtcd serves on a Unix socket: no port to choose, and only those who may
// enter the directory can connect.
func runEtcd(data, socket string) {
	config := embed.NewConfig()
	config.Dir = data
	config.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
	// The only member has no peer to talk to; the port is never looked at.
	config.ListenPeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	etcd, err := embed.StartEtcd(config)
	if err == nil {
		err = <-etcd.Err()
	}
	fmt.Fprintln(os.Stderr, "etcd:", err)
	os.Exit(1)
}
