// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/control"
	"github.com/lvsx/lvsx/internal/ipvs"
)

func newMarkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mark",
		Short: "Give packets the firewall marks that services of ipvsadm -f take",
		Long: `Give packets the firewall marks that services of ipvsadm -f take.

The kernel's IPVS sees packets after the firewall (iptables, nftables), which
marks them. XDP sees them before: a mark that the firewall sets comes too late.
These rules stand in its place.

A packet that opens a connection has the mark of the most specific rule that
fits it: that with the longest prefix, then one that names its protocol, then
that with the fewest ports. It goes to the mark's service if there is one, else
to that of its address and port. Connections stay where they are, whatever
becomes of rules. Rules outlive the director as services do.`,
		Example: `  lvsx mark add --vip 192.0.2.1 --proto tcp --ports 80,443,8000-8100 --mark 1
  ipvsadm -A -f 1 -s rr
  ipvsadm -a -f 1 -r 192.0.2.11 -g`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newMarkAddCommand(), newMarkDelCommand(), newMarkListCommand())
	return cmd
}

func newMarkAddCommand() *cobra.Command {
	var options markOptions
	cmd := &cobra.Command{
		Use:   "add --vip ADDR --mark N [--proto PROTO] [--ports PORTS]",
		Short: "Add rules, one for each range of ports",
		Long: `Add rules, one for each range of ports: all of them, or none if one contradicts
a rule that is there. Rules that are there already stay. Two rules for the same
VIP and protocol must not have the same ports, nor share some while neither has
all of the other's.`,
		Example: "  lvsx mark add --vip 192.0.2.0/24 --proto udp --ports 53 --mark 2",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return options.tell(func(client *control.Client, rules []ipvs.MarkRule) error {
				return client.AddMarkRules(rules...)
			})
		},
	}
	options.addFlags(cmd)
	cmd.Flags().Uint32Var(&options.mark, "mark", 0, "firewall mark, from 1 to 4294967295 (`N`)")
	mustRequire(cmd, "mark")
	return cmd
}

func newMarkDelCommand() *cobra.Command {
	var options markOptions
	cmd := &cobra.Command{
		Use:   "del --vip ADDR [--proto PROTO] [--ports PORTS]",
		Short: "Delete the rules for exactly this VIP, protocol and these ports",
		Long: `Delete the rules for exactly this VIP, protocol and these ports, whatever their
mark: those that lvsx mark list shows so. What is not there is left alone.`,
		Example: "  lvsx mark del --vip 192.0.2.0/24 --proto udp --ports 53",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return options.tell(func(client *control.Client, rules []ipvs.MarkRule) error {
				_, err := client.DeleteMarkRules(rules...)
				return err
			})
		},
	}
	options.addFlags(cmd)
	return cmd
}

// markOptions are the rules of one command line: one for each range of ports.
type markOptions struct {
	vip, proto, ports string
	mark              uint32
}

func (o *markOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.vip, "vip", "", "address or network of VIPs (`ADDR`)")
	flags.StringVar(&o.proto, "proto", "", "tcp, udp or sctp (`PROTO`); all three without it")
	flags.StringVar(&o.ports, "ports", "", "ports and ranges, as 80,443,8000-8100 (`PORTS`); all without it")
	mustRequire(cmd, "vip")
}

func mustRequire(cmd *cobra.Command, flag string) {
	if err := cmd.MarkFlagRequired(flag); err != nil {
		panic(err)
	}
}

func (o *markOptions) rules() ([]ipvs.MarkRule, error) {
	vip, err := ipvs.ParseMarkVIP(o.vip)
	if err != nil {
		return nil, err
	}
	var protocol ipvs.Protocol
	if o.proto != "" {
		if err := protocol.UnmarshalText([]byte(o.proto)); err != nil || protocol == 0 {
			return nil, fmt.Errorf("protocol %q: not one of tcp, udp, sctp", o.proto)
		}
	}
	ranges, err := ipvs.ParsePorts(o.ports)
	if err != nil {
		return nil, err
	}
	rules := make([]ipvs.MarkRule, len(ranges))
	for i, ports := range ranges {
		rules[i] = ipvs.MarkRule{VIP: vip, Protocol: protocol, Ports: ports, Mark: o.mark}
	}
	return rules, nil
}

// tell reads the rules before it looks for a director.
func (o *markOptions) tell(do func(*control.Client, []ipvs.MarkRule) error) error {
	rules, err := o.rules()
	if err != nil {
		return err
	}
	client, err := dialDirector()
	if err != nil {
		return err
	}
	return do(client, rules)
}

func newMarkListCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list [-o table|json]",
		Short: "List the rules",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			client, err := dialDirector()
			if err != nil {
				return err
			}
			rules, err := client.MarkRules()
			if err != nil {
				return err
			}
			return printMarkRules(cmd.OutOrStdout(), rules, output == "json")
		},
	}
	addOutputFlag(cmd, &output)
	return cmd
}

func printMarkRules(w io.Writer, rules []ipvs.MarkRule, asJSON bool) error {
	if asJSON {
		if rules == nil {
			rules = []ipvs.MarkRule{}
		}
		return writeJSON(w, rules)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "VIP\tPROTO\tPORTS\tMARK")
	for _, r := range rules {
		proto, ports := "all", "all"
		if r.Protocol != 0 {
			proto = strings.ToLower(r.Protocol.String())
		}
		if r.Ports != ipvs.AllPorts {
			ports = r.Ports.String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", ipvs.VIPText(r.VIP), proto, ports, r.Mark)
	}
	return t.Flush()
}
