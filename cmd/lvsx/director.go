// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/dataplane"
	"github.com/lvsx/lvsx/internal/director"
)

func newDirectorCommand() *cobra.Command {
	options := director.Options{Version: version()}
	var mode string
	var fronts []string
	cmd := &cobra.Command{
		Use:   "director [--interface IF]... [--xdp auto|native|generic] [--connections N] [--front ADDRESS]... [--tun-port PORT] [--keep]",
		Short: "Run the director of this network namespace, in the foreground",
		Long: `Run the director of this network namespace, in the foreground. It attaches the
datapath to the interfaces given, or to all Ethernet interfaces, and takes
commands (ipvsadm) until it is told to stop.

A director in front of this one, whose method is TUN, is told by --front: packets
that come from it in IPIP, GRE or GUE are taken out and balanced again.

SIGTERM or Ctrl-C detaches everything that it attached and forgets the table.
With --keep, and after a crash, the datapath goes on forwarding, and the next
director adopts it with all services and connections.`,
		Example: `  lvsx director
  lvsx director --interface eth0 --interface eth1
  lvsx director --front 192.0.2.2`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if options.Mode, err = director.ParseMode(mode); err != nil {
				return err
			}
			if options.Connections < 1 || options.Connections > dataplane.MaxConnections {
				return fmt.Errorf("--connections %d: not between 1 and %d", options.Connections, dataplane.MaxConnections)
			}
			if slices.Contains(options.Interfaces, "") {
				return errors.New(`--interface "": no name of an interface`)
			}
			if options.Fronts, err = parseFronts(fronts, options.GUEPort); err != nil {
				return err
			}
			options.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return director.Run(cmd.Context(), options)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&options.Interfaces, "interface", nil, "attach to this `interface` only; may be given again (default: all Ethernet interfaces)")
	flags.StringVar(&mode, "xdp", "auto", "where XDP runs: native (in the driver), generic or auto")
	flags.IntVar(&options.Connections, "connections", dataplane.DefaultConnections, "`number` of connections to have room for, 72 bytes each")
	flags.StringArrayVar(&fronts, "front", nil, "take packets out of tunnels from this `address` of a director in front; may be given again")
	flags.Uint16Var(&options.GUEPort, "tun-port", defaultGUEPort, "UDP `port` that fronts send GUE to")
	flags.BoolVar(&options.Keep, "keep", false, "leave the datapath forwarding when told to stop")
	return cmd
}

// defaultGUEPort is the one that is registered for GUE.
const defaultGUEPort = 6080

func parseFronts(texts []string, guePort uint16) ([]netip.Addr, error) {
	var fronts []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--front %q: not an address", text)
		}
		fronts = append(fronts, a)
	}
	return fronts, director.CheckFronts(fronts, guePort)
}
