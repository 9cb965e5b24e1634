// `start --node`: a cluster with a node, in namespaces of its own. Three
// processes keep it: the one that was started, a guard that cleans up even if
// that one is killed, and the first process of the namespaces, with whose end
// the kernel ends all others and removes their mounts and network interfaces.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// apart is what the guard and the first process are told.
type apart struct {
	Options options
	// Outside is the port of the machine's loopback that leads to the API server.
	Outside int
	// Cgroup is below the root of each hierarchy; all Pods are in it.
	Cgroup string
}

// startApart starts the guard and ends it when asked. If this process is
// killed, the pipe to the guard closes all the same.
func startApart(options options) error {
	cmd, stdin, err := again(guardCommand, apart{Options: options})
	if err != nil {
		return err
	}
	// A Ctrl-C is for this process alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		<-asked(nil)
		_ = stdin.Close()
	}()
	return exitStatus(cmd.Wait())
}

// canRunNode returns an error that says what a node needs and this machine has not.
func canRunNode(programs string) error {
	if os.Geteuid() != 0 {
		return excuseError{"only root may make its namespaces"}
	}
	for _, name := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(name); err != nil {
			return excuseError{fmt.Sprintf("there is no program %s (Debian's packages iproute2 and nftables)", name)}
		}
	}
	if _, err := os.Stat(filepath.Join(programs, "containerd")); err != nil {
		return excuseError{"run tests/node/build: " + err.Error()}
	}
	return nil
}

// again is this program with a hidden sub-command and a pipe that closes with this process.
func again(command string, told apart) (*exec.Cmd, io.Closer, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(told)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(program, command, string(text))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	stdin, err := cmd.StdinPipe()
	return cmd, stdin, err
}

// guard starts the first process, leads connections into and out of its
// network, and leaves nothing when it ends.
func guard(told apart) (err error) {
	dir := told.Options.Dir
	if !told.Options.Keep {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	told.Outside = listener.Addr().(*net.TCPAddr).Port
	told.Cgroup = fmt.Sprintf("nomos-node-%d", os.Getpid())
	defer func() { err = errors.Join(err, removeCgroups(told.Cgroup)) }()
	if err := makeCgroups(told.Cgroup); err != nil {
		return excuseError{"cgroups: " + err.Error()}
	}

	first, _, err := again(firstCommand, told)
	if err != nil {
		return err
	}
	first.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	// The thread that starts it must not end before this process.
	runtime.LockOSThread()
	if err := first.Start(); err != nil {
		return excuseError{"namespaces: " + err.Error()}
	}
	network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", first.Process.Pid))
	if err == nil {
		err = forward(network, listener)
	}
	if err != nil {
		_ = first.Process.Kill()
		return errors.Join(err, first.Wait())
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Wait() }()
	select {
	case err = <-ended:
		return exitStatus(err)
	case <-asked(nil):
		// Its end is that of every process in its namespace.
		_ = first.Process.Kill()
		<-ended
		return nil
	}
}

// exitStatus is the exit status behind err, if that is what err is about.
func exitStatus(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return statusError(exit.ExitCode())
	}
	return err
}

// first is the first process of the namespaces.
func first(told apart) error {
	// The machine's /proc is still there: it knows the number that the machine gave.
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return err
	}
	var process int
	if _, err := fmt.Sscan(self, &process); err != nil {
		return err
	}
	if err := isolate(told.Options.Dir); err != nil {
		return excuseError{err.Error()}
	}
	if err := writeNodeFiles(filesIn(told.Options.Dir), told); err != nil {
		return err
	}
	return run(told.Options, place{
		bind:      "0.0.0.0",
		advertise: nodeAddress,
		port:      serverPort,
		outside:   told.Outside,
		process:   process,
	})
}

// hierarchies are the roots of cgroups: one for each controller, or the one of version 2.
func hierarchies() ([]string, error) {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if _, unified := os.Stat("/sys/fs/cgroup/cgroup.procs"); unified == nil {
		roots = []string{"/sys/fs/cgroup/cgroup.procs"}
	}
	for i := range roots {
		roots[i] = filepath.Dir(roots[i])
	}
	return roots, err
}

func makeCgroups(name string) error {
	roots, err := hierarchies()
	for _, root := range roots {
		// Two names may lead to one hierarchy.
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return err
}

// removeCgroups removes what the kernel keeps of Pods that are gone.
func removeCgroups(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	var left []string
	for range 100 {
		left = nil
		for _, root := range roots {
			left = append(left, directories(filepath.Join(root, name))...)
		}
		// The deepest are the last.
		slices.Reverse(left)
		left = slices.DeleteFunc(left, func(path string) bool { return syscall.Rmdir(path) == nil })
		if len(left) == 0 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("cgroups are left: %s", strings.Join(left, " "))
}

func directories(root string) []string {
	var found []string
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// runApart is the guard or the first process.
func runApart(command, text string) error {
	var told apart
	if err := json.Unmarshal([]byte(text), &told); err != nil {
		return err
	}
	if command == guardCommand {
		return guard(told)
	}
	return first(told)
}
