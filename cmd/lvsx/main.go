// SPDX-License-Identifier: Apache-2.0

// Command lvsx is Linux Virtual Server on XDP: director, real servers, the
// ipvsadm command and a lab, in one binary. Started under the name ipvsadm,
// ipvsadm-save or ipvsadm-restore (a link) it is that program.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args))
}

// run is main with an exit status, so that test scripts can call it by any name.
func run(args []string) int {
	if name := filepath.Base(args[0]); strings.HasPrefix(name, "ipvsadm") {
		return runIPVSAdm(append([]string{name}, args[1:]...))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRootCommand()
	root.SetArgs(args[1:])
	err := root.ExecuteContext(ctx)
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "lvsx: %v\n", err)
		return 1
	}
	return 0
}

// exitStatus ends the program without a message of its own.
type exitStatus int

func (s exitStatus) Error() string {
	return fmt.Sprintf("exit status %d", int(s))
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "lvsx",
		Short: "Linux Virtual Server on XDP",
		Long: `lvsx is Linux Virtual Server, whole: a director owns virtual IPs and spreads
connections over real servers by NAT, IP tunnelling or direct routing. Packets
are forwarded by eBPF in XDP; commands are ipvsadm's.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		newDirectorCommand(),
		newStatusCommand(),
		newListCommand(),
		newConnectionsCommand(),
		newGetCommand(),
		newSetCommand(),
		newServiceCommand(),
		newIPVSAdmCommand(),
		newVIPCommand(),
		newMarkCommand(),
		newRealserverCommand(),
		newLabCommand(),
		newBenchCommand(),
		newVersionCommand(),
	)
	return root
}
