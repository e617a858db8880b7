// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/director"
)

func newDirectorCommand() *cobra.Command {
	options := director.Options{Version: version()}
	var mode string
	cmd := &cobra.Command{
		Use:   "director [--interface IF]... [--xdp auto|native|generic] [--connections N] [--keep]",
		Short: "Run the director of this network namespace, in the foreground",
		Long: `Run the director of this network namespace, in the foreground. It attaches the
datapath to the interfaces given, or to all Ethernet interfaces, and takes
commands (ipvsadm) until it is told to stop.

SIGTERM or Ctrl-C detaches everything that it attached and forgets the table.
With --keep, and after a crash, the datapath goes on forwarding, and the next
director adopts it with all services and connections.`,
		Example: `  lvsx director
  lvsx director --interface eth0 --interface eth1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if options.Mode, err = director.ParseMode(mode); err != nil {
				return err
			}
			if options.Connections < 1 || options.Connections > 1<<28 {
				return fmt.Errorf("--connections %d: not between 1 and %d", options.Connections, 1<<28)
			}
			if slices.Contains(options.Interfaces, "") {
				return errors.New(`--interface "": no name of an interface`)
			}
			options.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return director.Run(cmd.Context(), options)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&options.Interfaces, "interface", nil, "attach to this `interface` only; may be given again (default: all Ethernet interfaces)")
	flags.StringVar(&mode, "xdp", "auto", "where XDP runs: native (in the driver), generic or auto")
	flags.IntVar(&options.Connections, "connections", dataplane.DefaultConnections, "`number` of connections to have room for, 72 bytes each")
	flags.BoolVar(&options.Keep, "keep", false, "leave the datapath forwarding when told to stop")
	return cmd
}
