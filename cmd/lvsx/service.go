// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/ipvs"
)

func newServiceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Give services what ipvsadm does not know",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newServiceSetCommand())
	return cmd
}

// serviceFlags are the options of ipvsadm that name a service.
type serviceFlags struct {
	tcp, udp, sctp string
	mark           uint32
	ipv6           bool
}

func (f *serviceFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.tcp, "tcp-service", "t", "", "the TCP service of this `VIP:PORT`")
	flags.StringVarP(&f.udp, "udp-service", "u", "", "the UDP service of this `VIP:PORT`")
	flags.StringVar(&f.sctp, "sctp-service", "", "the SCTP service of this `VIP:PORT`")
	flags.Uint32VarP(&f.mark, "fwmark-service", "f", 0, "the service of this firewall `MARK`")
	flags.BoolVarP(&f.ipv6, "ipv6", "6", false, "the mark's service for IPv6")
	cmd.MarkFlagsOneRequired("tcp-service", "udp-service", "sctp-service", "fwmark-service")
	cmd.MarkFlagsMutuallyExclusive("tcp-service", "udp-service", "sctp-service", "fwmark-service")
}

func (f *serviceFlags) key() (ipvs.Key, error) {
	if f.mark != 0 {
		return ipvs.MarkKey(f.mark, f.ipv6), nil
	}
	for _, named := range []struct {
		protocol ipvs.Protocol
		text     string
	}{{ipvs.TCP, f.tcp}, {ipvs.UDP, f.udp}, {ipvs.SCTP, f.sctp}} {
		if named.text == "" {
			continue
		}
		vip, err := netip.ParseAddrPort(named.text)
		if err != nil {
			return ipvs.Key{}, fmt.Errorf("service %q: not a VIP and port such as 192.0.2.1:80", named.text)
		}
		return ipvs.Key{Protocol: named.protocol, VIP: vip}, nil
	}
	return ipvs.Key{}, errors.New("name a service that is not 0")
}

func newServiceSetCommand() *cobra.Command {
	var service serviceFlags
	var want ipvs.ServiceSettings
	cmd := &cobra.Command{
		Use:   "set -t|-u VIP:PORT [--timeout-tcp SECONDS] [--timeout-fin SECONDS] [--timeout-udp SECONDS] [--removed silent|reset|move]",
		Short: "Change settings of one service",
		Long: `Change settings of one service; those that are not named stay. They act from each
connection's next packet on, and ipvsadm -E leaves them alone. lvsx list shows them.`,
		Example: `  lvsx service set -t 192.0.2.1:5432 --timeout-tcp 86400
  lvsx service set -t 192.0.2.1:5432 --timeout-tcp 0
  lvsx service set -u 192.0.2.1:53 --removed move`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := service.key()
			if err != nil {
				return err
			}
			return setService(cmd, key, want)
		},
	}
	service.add(cmd)
	flags := cmd.Flags()
	flags.Uint32Var(&want.Timeouts.TCP, "timeout-tcp", 0, "how many `SECONDS` idle established TCP connections are remembered; 0: as ipvsadm --set says")
	flags.Uint32Var(&want.Timeouts.TCPFin, "timeout-fin", 0, "how many `SECONDS` TCP connections in FIN_WAIT are remembered; 0: as ipvsadm --set says")
	flags.Uint32Var(&want.Timeouts.UDP, "timeout-udp", 0, "how many `SECONDS` idle UDP flows are remembered; 0: as ipvsadm --set says")
	flags.TextVar(&want.Removed, "removed", ipvs.Silent, "`what` becomes of connections whose real server is removed: silent, reset or move")
	cmd.MarkFlagsOneRequired("timeout-tcp", "timeout-fin", "timeout-udp", "removed")
	return cmd
}

// setService asks for the settings that were named, and for the others as they
// are.
func setService(cmd *cobra.Command, key ipvs.Key, want ipvs.ServiceSettings) error {
	client, err := dialDirector()
	if err != nil {
		return err
	}
	now, err := client.Service(key)
	if errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("find service %s: there is none; lvsx list shows all", key)
	}
	if err != nil {
		return err
	}
	settings := now.Settings
	for name, change := range map[string]func(){
		"timeout-tcp": func() { settings.Timeouts.TCP = want.Timeouts.TCP },
		"timeout-fin": func() { settings.Timeouts.TCPFin = want.Timeouts.TCPFin },
		"timeout-udp": func() { settings.Timeouts.UDP = want.Timeouts.UDP },
		"removed":     func() { settings.Removed = want.Removed },
	} {
		if cmd.Flags().Changed(name) {
			change()
		}
	}
	_, err = client.Apply(ipvs.Change{Op: ipvs.SetService, Service: ipvs.Service{Key: key, Settings: settings}})
	return err
}

// printServiceSettings prints the commands that make the settings of services.
func printServiceSettings(out io.Writer, services []ipvs.ServiceStatus) error {
	for _, s := range services {
		if s.Settings == (ipvs.ServiceSettings{}) {
			continue
		}
		change := ipvs.Change{Op: ipvs.SetService, Service: ipvs.Service{Key: s.Key, Settings: s.Settings}}
		if _, err := fmt.Fprintln(out, change); err != nil {
			return err
		}
	}
	return nil
}
