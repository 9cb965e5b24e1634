// The parts of a node: how each is told what to do, and in which order they start.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// scratchName is the directory in memory, seen by the node alone.
const scratchName = "scratch"

// pauseImage is that of the container that every Pod has beside its own.
const pauseImage = "nomos.test/guest:1"

const containerdConfig = `version = 3
root = "{{scratch}}/containerd"
state = "/run/containerd"
[grpc]
  address = "{{dir}}/containerd.sock"
[ttrpc]
  address = ""
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{{pause}}"
[plugins.'io.containerd.cri.v1.runtime']
  # Not every root may lower the score.
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = "{{programs}}/runc"
  SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{{programs}}"]
  conf_dir = "{{dir}}/cni"
`

const networkConfig = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": true,
    "hairpinMode": true,
    "ipam": {
      "type": "host-local",
      "dataDir": "{{scratch}}/cni",
      "ranges": [[{"subnet": "{{pods}}"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://{{dir}}/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /{{cgroup}}
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
protectKernelDefaults: true
evictionHard:
  memory.available: 1Mi
imageGCHighThresholdPercent: 100
volumePluginDir: {{scratch}}/volume-plugins
resolvConf: ""
clusterDomain: cluster.local
clusterDNS: ["{{node}}"]
seccompDefault: true
authentication:
  anonymous:
    enabled: false
  x509:
    clientCAFile: {{dir}}/ca.crt
authorization:
  mode: AlwaysAllow
`

// The names of Services, and all names below example.com for the machine itself.
const dnsConfig = `.:53 {
  bind {{node}}
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig {{dir}}/node.kubeconfig
  }
  template IN A example.com {
    answer "{{ .Name }} 5 IN A {{gateway}}"
  }
  template IN AAAA example.com {
    rcode NOERROR
  }
  template ANY ANY . {
    rcode NXDOMAIN
  }
}
`

// writeNodeFiles writes what the parts of the node read.
func writeNodeFiles(f files, told apart) error {
	replace := replacer(f, told)
	if err := os.Mkdir(filepath.Join(f.dir, "cni"), 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"containerd.toml":   containerdConfig,
		"cni/pods.conflist": networkConfig,
		"kubelet.yaml":      kubeletConfig,
		"Corefile":          dnsConfig,
	} {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(replace(text)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// replacer fills in the texts.
func replacer(f files, told apart) func(string) string {
	return strings.NewReplacer(
		"{{dir}}", f.dir,
		"{{scratch}}", filepath.Join(f.dir, scratchName),
		"{{programs}}", told.Options.Node,
		"{{cgroup}}", told.Cgroup,
		"{{pause}}", pauseImage,
		"{{node}}", nodeAddress,
		"{{gateway}}", gatewayAddress,
		"{{pods}}", podRange,
	).Replace
}

// startRuntime starts containerd, without waiting for it.
func startRuntime(children *children, f files, programs string) error {
	return children.supervise(f.dir, program{
		name: "containerd",
		path: filepath.Join(programs, "containerd"),
		args: []string{"--config", filepath.Join(f.dir, "containerd.toml"), "--log-level", "warn"},
	})
}

// startNode returns when the node is ready.
func startNode(ctx context.Context, children *children, api *api, f files, programs string) error {
	parts := []struct {
		name, command string
		args          []string
	}{
		{"kube-scheduler", schedulerCommand, []string{
			"--kubeconfig=" + f.nodeKubeconfig, "--leader-elect=false", "--secure-port=0",
		}},
		{"kube-proxy", proxyCommand, []string{
			"--kubeconfig=" + f.nodeKubeconfig, "--proxy-mode=nftables", "--hostname-override=" + nodeName,
			// A Pod that reaches another by its Service on the one bridge gets its answers by the same way.
			"--masquerade-all",
			// They belong to the machine.
			"--conntrack-max-per-core=0", "--conntrack-min=0",
			"--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
		}},
		{"kubelet", kubeletCommand, []string{
			"--kubeconfig=" + f.nodeKubeconfig, "--config=" + filepath.Join(f.dir, "kubelet.yaml"),
			"--hostname-override=" + nodeName, "--node-ip=" + nodeAddress,
			"--root-dir=" + filepath.Join(f.dir, scratchName, "kubelet"),
			"--cert-dir=" + filepath.Join(f.dir, "kubelet-certificates"),
		}},
	}
	if err := importImage(ctx, f, programs); err != nil {
		return err
	}
	for _, part := range parts {
		program, err := component(part.name, part.command, part.args)
		if err == nil {
			err = children.supervise(f.dir, program)
		}
		if err != nil {
			return err
		}
	}
	err := children.supervise(f.dir, program{
		name: "coredns",
		path: filepath.Join(programs, "coredns"),
		args: []string{"-conf", filepath.Join(f.dir, "Corefile")},
	})
	if err != nil {
		return err
	}
	return api.await(ctx, "/api/v1/nodes/"+nodeName, isReady)
}

// importImage waits for containerd and gives it the pause image.
func importImage(ctx context.Context, f files, programs string) error {
	for {
		cmd := exec.CommandContext(ctx, filepath.Join(programs, "ctr"),
			"--address", filepath.Join(f.dir, "containerd.sock"), "--namespace", "k8s.io",
			"images", "import", filepath.Join(programs, "guest.tar"))
		output, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), fmt.Errorf("import of the pause image: %w: %s", err, output))
		case <-time.After(pollInterval):
		}
	}
}

// isReady is true of a Node to which Pods can be scheduled.
func isReady(body []byte) bool {
	var node struct {
		Spec struct {
			Taints []any `json:"taints"`
		} `json:"spec"`
		Status struct {
			Conditions []struct {
				Type   string `json:"type"`
				Status string `json:"status"`
			} `json:"conditions"`
		} `json:"status"`
	}
	if json.Unmarshal(body, &node) != nil || len(node.Spec.Taints) > 0 {
		return false
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True"
		}
	}
	return false
}

func runNodeComponent(command string, args []string) {
	switch command {
	case schedulerCommand:
		runCobra(scheduler.NewSchedulerCommand(), args)
	case kubeletCommand:
		runCobra(kubelet.NewKubeletCommand(context.Background()), args)
	case proxyCommand:
		runCobra(proxy.NewProxyCommand(), args)
	}
}
