// The child processes of `start`: how they begin and how they end.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tailLines is how much of a child's log an error shows.
const tailLines = 20

type child struct {
	name    string
	log     string
	process *os.Process
	ended   chan struct{}
}

// children are started by one goroutine, which has to be locked to its thread
// (the death of a thread is what dieWithParent's signal follows).
type children struct {
	// end is called when a child ends that should not have.
	end context.CancelCauseFunc
	all []*child
}

// spawn runs this program again with a hidden sub-command. It appears under
// name in the process list and, through its user agent, in the audit log.
func (c *children) spawn(dir, name, command string, args []string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program, append([]string{command}, args...)...)
	cmd.Args[0] = name
	cmd.Dir = dir
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = log, log
	// Nothing is written into the pipe: it closes with this process.
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	started := &child{name: name, log: log.Name(), process: cmd.Process, ended: make(chan struct{})}
	c.all = append(c.all, started)
	go func() {
		err := cmd.Wait()
		c.end(fmt.Errorf("%s ended: %v; its log ends with\n%s", name, err, tail(started.log)))
		close(started.ended)
	}()
	return nil
}

// environment leaves out what would change how a component behaves.
func environment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KUBE") && !strings.HasPrefix(variable, "ETCD_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// killAll returns when no child is left. A graceful stop would wait for every
// open watch.
func (c *children) killAll() {
	for _, child := range c.all {
		_ = child.process.Kill()
	}
	for _, child := range c.all {
		select {
		case <-child.ended:
		case <-time.After(5 * time.Second):
			fmt.Fprintf(os.Stderr, "controlplane: %s does not die\n", child.name)
		}
	}
}

// tails shows the end of every child's log.
func (c *children) tails() string {
	var all strings.Builder
	for _, child := range c.all {
		fmt.Fprintf(&all, "the log of %s ends with\n%s", child.name, tail(child.log))
	}
	return all.String()
}

func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error() + "\n"
	}
	lines := strings.SplitAfter(string(content), "\n")
	if from := len(lines) - 1 - tailLines; from > 0 {
		lines = lines[from:]
	}
	return strings.Join(lines, "")
}
