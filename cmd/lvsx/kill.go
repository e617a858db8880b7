// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/ipvs"
)

func newKillCommand() *cobra.Command {
	var endpoints endpointFlags
	var all, countOnly bool
	var output string
	cmd := &cobra.Command{
		Use:   "kill [--client ADDR] [--vip ADDR] [--server ADDR] [--state STATE] [--all] [--dry-run]",
		Short: "End connections: both ends are reset",
		Long: `End the connections that are chosen, or with --all all of them. TCP connections
are reset at both ends, idle ones too; of others the director forgets, and their
next packet is scheduled anew. ADDR is an address, a network (192.0.2.0/24) or an
address with a port (192.0.2.80:80).`,
		Example: `  lvsx connections kill --client 198.51.100.7:40000
  lvsx connections kill --server 10.0.0.11 --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			filter, err := endpoints.filter()
			if err != nil {
				return err
			}
			if none := filter == (ipvs.ConnFilter{}); none != all {
				return errors.New("kill connections: choose some by --client, --vip, --server or --state, or say --all")
			}
			return killConnections(cmd, filter, countOnly, output == "json")
		},
	}
	endpoints.add(cmd)
	addOutputFlag(cmd, &output)
	cmd.Flags().BoolVar(&all, "all", false, "all connections")
	cmd.Flags().BoolVar(&countOnly, "dry-run", false, "only say how many there are")
	return cmd
}

func killConnections(cmd *cobra.Command, filter ipvs.ConnFilter, countOnly, asJSON bool) error {
	client, err := dialDirector()
	if err != nil {
		return err
	}
	killed, err := client.Kill(filter, countOnly)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), killed)
	}
	would := ""
	if countOnly {
		would = "would be "
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d TCP connections %sreset, %d others %sforgotten\n", killed.Reset, would, killed.Forgotten, would)
	return err
}

// endpointFlags choose connections.
type endpointFlags struct {
	client, vip, server, state string
}

func (f *endpointFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.client, "client", "", "only of this client or network (`ADDR`)")
	flags.StringVar(&f.vip, "vip", "", "only to this VIP (`ADDR`)")
	flags.StringVar(&f.server, "server", "", "only to this real server (`ADDR`)")
	flags.StringVar(&f.state, "state", "", "only in this `STATE`, by the name that ipvsadm -L -c prints")
}

func (f *endpointFlags) filter() (filter ipvs.ConnFilter, err error) {
	if filter.State, err = ipvs.ParseState(f.state); err != nil {
		return filter, fmt.Errorf("--state %w", err)
	}
	for _, flag := range []struct {
		name, text string
		endpoint   *ipvs.Endpoint
	}{
		{"client", f.client, &filter.Client}, {"vip", f.vip, &filter.VIP}, {"server", f.server, &filter.Server},
	} {
		if *flag.endpoint, err = ipvs.ParseEndpoint(flag.text); err != nil {
			return filter, fmt.Errorf("--%s %w", flag.name, err)
		}
	}
	return filter, nil
}
