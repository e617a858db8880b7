// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/lab"
)

func newLabCommand() *cobra.Command {
	plan := lab.Plan{}
	var method, scenario string
	var asJSON bool
	cmd := &cobra.Command{
		Use:                   "lab [--scenario methods|nested] [--method nat|tun|dr|all] [--servers N] [--requests N] [--weights W,W,...] [--family 4|6] [--xdp auto|native|generic] [--json] [--keep]",
		DisableFlagsInUseLine: true,
		Short:                 "Show the three forwarding methods at work, in namespaces that vanish again",
		Long: `Build a small network of namespaces for each forwarding method, run directors
and real servers in them, send real HTTP requests and show who answered them and
what went through the director. Nothing of this machine's own network is
touched, and nothing stays behind unless --keep says so.

With --scenario nested there is one network, of a director whose real servers are
two directors of NAT, each with real servers of its own. The one in front has the
method TUN, or DR if --method says so.`,
		Example: `  lvsx lab
  lvsx lab --method dr --weights 1,2,3
  lvsx lab --family 6
  lvsx lab --scenario nested
  lvsx lab --method nat --keep`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if plan.Methods, err = lab.ParseScenario(scenario, method); err != nil {
				return err
			}
			if !cmd.Flags().Changed("weights") {
				plan.Weights = nil
			}
			if plan.Methods[0].IsNested() && !cmd.Flags().Changed("servers") {
				plan.Servers = 2
			}
			return runLab(cmd, plan, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&scenario, "scenario", "methods", "`what` to show: methods, or nested directors")
	flags.StringVar(&method, "method", "all", "forwarding `method`: nat, tun, dr or all")
	flags.IntVar(&plan.Servers, "servers", 3, "give each method `N` real servers; each inner director, by default 2")
	flags.IntVar(&plan.Requests, "requests", 300, "send `N` requests to each method")
	flags.IntSliceVar(&plan.Weights, "weights", nil, "schedule all requests by wrr, rs1 having the first `weight` and so on (default: rr, then a short round of wrr)")
	flags.IntVar(&plan.Family, "family", 4, "of all addresses: 4 for IPv4, 6 for IPv6")
	flags.StringVar(&plan.XDP, "xdp", "auto", "`mode` in which directors attach: auto, native or generic")
	flags.BoolVar(&asJSON, "json", false, "print the result as JSON; progress goes to standard error")
	flags.BoolVar(&plan.Keep, "keep", false, "leave all standing, to be removed by lvsx lab down")
	name := cmd.PersistentFlags()
	name.StringVar(&plan.Name, "name", "lab", "tells labs on one machine apart")
	_ = name.MarkHidden("name")
	cmd.AddCommand(newLabDownCommand(&plan.Name), newLabExecCommand(&plan.Name), newLabServeCommand())
	return cmd
}

func runLab(cmd *cobra.Command, plan lab.Plan, asJSON bool) error {
	// A pipe that nobody reads and a terminal that closes end the lab, too,
	// and must not end it before it has tidied up.
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	plan.Program = program
	progress := cmd.OutOrStdout()
	if asJSON {
		progress = cmd.ErrOrStderr()
	}
	screen := lab.NewScreen(progress)
	report, err := lab.Run(ctx, plan, screen)
	if err != nil {
		return err
	}
	if err := showReport(cmd.OutOrStdout(), screen, report, asJSON); err != nil {
		return err
	}
	if plan.Keep {
		explainKept(progress, plan)
	}
	return report.Err()
}

func showReport(out io.Writer, screen *lab.Screen, report lab.Report, asJSON bool) error {
	if err := screen.Compare(report); err != nil || !asJSON {
		return err
	}
	return json.NewEncoder(out).Encode(report)
}

func explainKept(out io.Writer, plan lab.Plan) {
	self := invocation()
	name := string(plan.Methods[0])
	fmt.Fprintf(out, `
All of it stays. Try:
  %[1]s lab exec %[2]s-director -- ipvsadm -L -n -c
  %[1]s lab exec %[2]s-client -- curl -g %[4]s
  %[1]s lab exec %[2]s-rs1 -- bash
or enter a node by "ip netns exec %[3]s". Remove it all:
  %[1]s lab down
`, self, name, lab.NodeName(plan.Name, name+"-rs1"), plan.URL())
}

// invocation is what the user types to start this program.
func invocation() string {
	program, err := os.Executable()
	if err == nil && strings.Contains(program, "/go-build") {
		return "go run ./cmd/lvsx"
	}
	if found, err := exec.LookPath("lvsx"); err == nil && found == program {
		return "lvsx"
	}
	return os.Args[0]
}

func newLabDownCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove a lab that was kept, or what is left of one that was killed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			count, err := lab.Down(*name)
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "removed %d namespaces\n", count)
			}
			return err
		},
	}
}

func newLabExecCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "exec METHOD-NODE -- COMMAND [ARG]...",
		Short: "Run a command in a node of a lab that was kept",
		Long: `Run a command in a node of a lab that was kept: the nodes are client, router,
director, switch and rs1, rs2, ..., and inner1, inner2 of nested. The commands lvsx and ipvsadm are this program.`,
		Example: `  lvsx lab exec dr-client -- curl http://192.0.2.80/
  lvsx lab exec dr-director -- ipvsadm -L -n`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			node, err := host.OpenNamespace(lab.NodeName(*name, args[0]))
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("node %s: no lab with it stands; `lvsx lab --keep` leaves one", args[0])
			}
			if err != nil {
				return err
			}
			command, err := commandIn(node, args[1:])
			if err != nil {
				return err
			}
			command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
			err = command.Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return statusOf(exit)
			}
			return err
		},
	}
}

// statusOf is what a shell makes of the end of a command.
func statusOf(exit *exec.ExitError) exitStatus {
	if how, ok := exit.Sys().(syscall.WaitStatus); ok && how.Signaled() {
		return exitStatus(128 + int(how.Signal()))
	}
	return exitStatus(exit.ExitCode())
}

// commandIn returns the command in the node. An ipvsadm that is installed
// would speak to the kernel's IPVS, so that is never meant.
func commandIn(node *host.Namespace, args []string) (*host.Command, error) {
	switch args[0] {
	case "lvsx", "ipvsadm", "ipvsadm-save", "ipvsadm-restore":
		program, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find own program: %w", err)
		}
		command := node.Command(program, args[1:]...)
		command.Args[0] = args[0]
		return command, nil
	}
	return node.Command(args[0], args[1:]...), nil
}

// newLabServeCommand is what the lab runs in its real servers, with a
// listening socket as file descriptor 3.
func newLabServeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "serve NAME",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			listener, err := net.FileListener(os.NewFile(3, "socket"))
			if err != nil {
				return fmt.Errorf("serve %s: file descriptor 3: %w", filepath.Base(args[0]), err)
			}
			return lab.Serve(ctx, listener, args[0])
		},
	}
}
