// The mounts and the network of a node, in namespaces that are new and empty.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	nodeAddress = "192.168.77.2"
	podRange    = "10.244.0.0/24"
	// Every port of the gateway leads to that port of the machine's loopback.
	gatewayAddress = "192.168.77.1"
	gatewayPort    = 1
	serverPort     = 6443
)

// tunables are what the kubelet asks of a kernel. It is shown them, so that
// the machine's own stay as they are.
var tunables = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// isolate makes the namespaces of this process fit for a node. Nothing that
// it or a later process mounts can be seen outside.
func isolate(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for name, value := range tunables {
		file := filepath.Join(dir, "tunables", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			return err
		}
		if err := syscall.Mount(file, "/proc/sys/"+name, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over /proc/sys/%s: %w", name, err)
		}
	}
	scratch := filepath.Join(dir, scratchName)
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return err
	}
	// What containerd and the kubelet write at places of their own, and what would be slow to remove.
	for _, path := range []string{"/run", "/var/lib", "/var/log", scratch} {
		if err := syscall.Mount("tmpfs", path, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mount over %s: %w", path, err)
		}
	}
	return connectNetwork()
}

// connectNetwork gives the node its address and the way to the gateway, and
// leads all connections to the gateway to one port.
func connectNetwork() error {
	const links = `link set lo up
link add outside type veth peer name inside
address add ` + gatewayAddress + `/24 dev outside
address add ` + nodeAddress + `/24 dev inside
link set outside up
link set inside up
route add default via ` + gatewayAddress + ` dev inside
`
	if err := feed(links, "ip", "-batch", "-"); err != nil {
		return err
	}
	rule := fmt.Sprintf("ip daddr %s meta l4proto tcp dnat to %[1]s:%d", gatewayAddress, gatewayPort)
	table := "table ip gateway {\n"
	for _, hook := range []string{"prerouting", "output"} {
		table += fmt.Sprintf("chain %s { type nat hook %[1]s priority -110; %s; }\n", hook, rule)
	}
	return feed(table+"}\n", "nft", "-f", "-")
}

// feed runs a program with this input.
func feed(input, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(output)))
	}
	return nil
}
