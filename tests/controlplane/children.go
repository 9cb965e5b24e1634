// The child processes of `start`: how they begin and how they end.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// tailLines is how much of a child's log an error shows.
const tailLines = 20

// restartPause is how long a supervised child that ended stays away.
const restartPause = 500 * time.Millisecond

// program is what a child runs. It appears under name in the process list and,
// through its user agent, in the audit log.
type program struct {
	name, path string
	args       []string
}

type child struct {
	name    string
	program program
	log     string
	// process is nil for a supervised child, of which there are many in turn.
	process *os.Process
	ended   chan struct{}
	// replaced says that the end is no failure: the child starts again.
	replaced atomic.Bool
}

// children are started by one goroutine, which has to be locked to its thread
// (the death of a thread is what dieWithParent's signal follows).
type children struct {
	// end is called when a child ends that should not have.
	end context.CancelCauseFunc
	all []*child
}

// component is this program again with a hidden sub-command.
func component(name, command string, args []string) (program, error) {
	path, err := os.Executable()
	return program{name, path, append([]string{command}, args...)}, err
}

// spawn starts a child that shall not end.
func (c *children) spawn(dir string, program program) error {
	log, err := os.OpenFile(filepath.Join(dir, program.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd, err := program.start(dir, log)
	if err != nil {
		return err
	}
	started := &child{name: program.name, program: program, log: log.Name(), process: cmd.Process, ended: make(chan struct{})}
	c.all = append(c.all, started)
	go func() {
		err := cmd.Wait()
		if !started.replaced.Load() {
			c.end(fmt.Errorf("%s ended: %v; its log ends with\n%s", program.name, err, tail(started.log)))
		}
		close(started.ended)
	}()
	return nil
}

// restart kills a child and runs it again with the same arguments, on the
// state that it left.
func (c *children) restart(dir, name string) error {
	for index, child := range c.all {
		if child.name != name || child.process == nil {
			continue
		}
		child.replaced.Store(true)
		if err := child.process.Kill(); err != nil {
			return fmt.Errorf("restart %s: %w", name, err)
		}
		<-child.ended
		c.all = slices.Delete(c.all, index, index+1)
		return c.spawn(dir, child.program)
	}
	return fmt.Errorf("there is no %q to restart", name)
}

// supervise keeps a child running, whatever ends it. It is for children that
// cannot outlive this process, as in a process namespace.
func (c *children) supervise(dir string, program program) error {
	log, err := os.Create(filepath.Join(dir, program.name+".log"))
	if err != nil {
		return err
	}
	c.all = append(c.all, &child{name: program.name, log: log.Name()})
	go func() {
		runtime.LockOSThread()
		for {
			cmd, err := program.start(dir, log)
			if err != nil {
				c.end(err)
				return
			}
			fmt.Fprintf(log, "%s ended: %v\n", program.name, cmd.Wait())
			time.Sleep(restartPause)
		}
	}()
	return nil
}

// start runs the program as a child of this thread.
func (p program) start(dir string, log *os.File) (*exec.Cmd, error) {
	cmd := exec.Command(p.path, p.args...)
	cmd.Args[0] = p.name
	cmd.Dir = dir
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = log, log
	// Nothing is written into the pipe: it closes with this process.
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return cmd, nil
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
	running := slices.DeleteFunc(slices.Clone(c.all), func(child *child) bool { return child.process == nil })
	for _, child := range running {
		_ = child.process.Kill()
	}
	for _, child := range running {
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
