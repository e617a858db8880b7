// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/host"
)

func newVIPCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "vip",
		Short:             "Give this director a VIP, or take it",
		Args:              cobra.NoArgs,
		PersistentPreRunE: needRoot,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newVIPChangeCommand("add", "Put the VIP on the interface and announce it", host.AddVIP),
		newVIPChangeCommand("del", "Take the VIP from the interface", host.DeleteVIP),
	)
	return cmd
}

func newVIPChangeCommand(verb, short string, change func(link string, vip netip.Addr) error) *cobra.Command {
	var link string
	cmd := &cobra.Command{
		Use:     verb + " ADDR[/PREFIX] --interface IF",
		Short:   short,
		Example: "  lvsx vip " + verb + " 192.0.2.1/32 --interface eth0\n  lvsx vip " + verb + " 2001:db8::1/128 --interface eth0",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			vip, err := parseVIP(args[0])
			if err != nil {
				return err
			}
			return change(link, vip)
		},
	}
	cmd.Flags().StringVar(&link, "interface", "", "`interface` by which clients come in")
	if err := cmd.MarkFlagRequired("interface"); err != nil {
		panic(err)
	}
	return cmd
}

// parseVIP reads an address with or without the prefix length of all bits that
// a VIP has anyway.
func parseVIP(text string) (netip.Addr, error) {
	if vip, err := netip.ParseAddr(text); err == nil {
		return vip, host.CheckVIP(vip)
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("VIP %q: not an address such as 192.0.2.1/32 or 2001:db8::1/128", text)
	}
	if !prefix.IsSingleIP() {
		return netip.Addr{}, fmt.Errorf("VIP %s: a VIP is one address, %s/%d", prefix, prefix.Addr(), prefix.Addr().BitLen())
	}
	return prefix.Addr(), host.CheckVIP(prefix.Addr())
}
