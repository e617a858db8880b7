// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"os/exec"
)

// Command is an exec.Cmd whose child is born in a network namespace. Only the
// methods defined here start it there. Its mounts are the caller's: /sys and
// /sys/fs/bpf are not changed, unlike under `ip netns exec`.
type Command struct {
	*exec.Cmd
	namespace *Namespace
}

// Command returns a command that will run in the namespace.
func (n *Namespace) Command(path string, args ...string) *Command {
	return &Command{Cmd: exec.Command(path, args...), namespace: n}
}

// Start starts the command and does not wait for it. A child inherits the
// namespace of the thread that forks it.
func (c *Command) Start() error {
	return c.namespace.Do(c.Cmd.Start)
}

// Run starts the command and waits for it.
func (c *Command) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns its standard output.
func (c *Command) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput runs the command and returns its standard output and
// standard error.
func (c *Command) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}
