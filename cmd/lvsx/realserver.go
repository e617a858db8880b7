// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/decap"
	"github.com/lvsx/lvsx/internal/realserver"
)

// realserverFlags are the flags that up, down and status share.
type realserverFlags struct {
	method    string
	vips      []string
	directors []string
	link      string
	types     []string
	ports     []uint
	mss       string
}

func newRealserverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "realserver",
		Short:             "Prepare this machine to serve a VIP as a real server",
		Args:              cobra.NoArgs,
		PersistentPreRunE: needRoot,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRealserverUpCommand(), newRealserverDownCommand(), newRealserverStatusCommand())
	return cmd
}

func newRealserverUpCommand() *cobra.Command {
	var flags realserverFlags
	cmd := &cobra.Command{
		Use:   "up --method nat|tun|dr [--vip VIP]... [--director ADDR]... [--tun-type TYPE]... [--tun-port PORT]... [--mss auto|off|BYTES] [--interface IF]",
		Short: "Serve the VIPs, silently to neighbours; for nat, check the way back to clients",
		Long: `Serve the VIPs. Neighbours must not learn that this machine has them, so ARP
for them is silenced first; of IPv6 they learn nothing anyway. IPIP tunnels are taken apart by the kernel's tunl0
where there is one, otherwise and GRE and GUE always by an XDP program that
accepts them from the given directors only. All is remembered for down. Nothing stays running. With nat
nothing is changed: only the way back to clients is checked.`,
		Example: `  lvsx realserver up --method dr --vip 192.0.2.1
  lvsx realserver up --method tun --vip 192.0.2.1 --director 10.0.0.1
  lvsx realserver up --method tun --tun-type gue --tun-port 6080 --vip 192.0.2.1 --director 10.0.0.1
  lvsx realserver up --method nat --director 10.0.0.1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := flags.request()
			if err != nil {
				return err
			}
			result, err := realserver.Up(request)
			if err != nil {
				return err
			}
			printResult(cmd.OutOrStdout(), result)
			return nil
		},
	}
	flags.add(cmd)
	if err := cmd.MarkFlagRequired("method"); err != nil {
		panic(err)
	}
	return cmd
}

func newRealserverDownCommand() *cobra.Command {
	var flags realserverFlags
	cmd := &cobra.Command{
		Use:   "down [--vip VIP]...",
		Short: "Stop serving the VIPs, or all, and restore what up found",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := flags.request()
			if err != nil {
				return err
			}
			result, err := realserver.Down(request)
			if err != nil {
				return err
			}
			printResult(cmd.OutOrStdout(), result)
			return nil
		},
	}
	flags.add(cmd)
	return cmd
}

func newRealserverStatusCommand() *cobra.Command {
	var flags realserverFlags
	var output string
	cmd := &cobra.Command{
		Use:   "status [--method nat|tun|dr] [--vip VIP]... [--director ADDR]... [--interface IF]",
		Short: "Show what a real server needs and whether it is so; exit status 1 if not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := flags.request()
			if err != nil {
				return err
			}
			status, err := realserver.Look(request)
			if err != nil {
				return err
			}
			if err := printStatus(cmd.OutOrStdout(), output, status); err != nil {
				return err
			}
			if !status.OK() {
				return errors.New("realserver status: not all is as it should be")
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func (f *realserverFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.method, "method", "", "forwarding method of the virtual service: nat, tun or dr")
	cmd.Flags().StringSliceVar(&f.vips, "vip", nil, "virtual service's IPv4 `address`; can be repeated")
	cmd.Flags().StringSliceVar(&f.directors, "director", nil, "director's `address` on the way to this machine; can be repeated")
	cmd.Flags().StringSliceVar(&f.types, "tun-type", nil, "`type` of tunnel to take apart, as the director's ipvsadm has it: ipip, gre or gue; can be repeated (default ipip)")
	cmd.Flags().UintSliceVar(&f.ports, "tun-port", nil, "UDP `port` of GUE tunnels; can be repeated")
	cmd.Flags().StringVar(&f.mss, "mss", "auto", "largest TCP segment that clients of tun are told to send, in `bytes`; auto: what fits through the tunnel, off: leave it alone")
	cmd.Flags().StringVar(&f.link, "interface", "", "`interface` by which packets for the VIP come in (default: all, or the way to the director)")
}

func (f *realserverFlags) request() (realserver.Request, error) {
	request := realserver.Request{Interface: f.link}
	var errs []error
	if f.method != "" {
		method, err := realserver.ParseMethod(f.method)
		request.Method = method
		errs = append(errs, err)
	}
	var err error
	request.VIPs, err = parseVIPs(f.vips)
	errs = append(errs, err)
	request.Tunnels, err = f.tunnels()
	errs = append(errs, err)
	request.MSS, err = parseMSS(f.mss)
	errs = append(errs, err)
	for _, text := range f.directors {
		director, err := netip.ParseAddr(text)
		errs = append(errs, err)
		request.Directors = append(request.Directors, director)
	}
	return request, errors.Join(errs...)
}

// parseMSS returns 0 for auto and a negative number for off.
func parseMSS(text string) (int, error) {
	switch text {
	case "auto":
		return 0, nil
	case "off":
		return -1, nil
	}
	const smallest = 88 // the kernel's TCP_MIN_SND_MSS of 48, and 40 bytes of options
	bytes, err := strconv.ParseUint(text, 10, 16)
	if err != nil || bytes < smallest {
		return 0, fmt.Errorf("MSS %q: not auto, off or a number from %d to 65535", text, smallest)
	}
	return int(bytes), nil
}

// tunnels returns the types of tunnel that are named, each GUE port one.
func (f *realserverFlags) tunnels() ([]decap.Tunnel, error) {
	if slices.Contains(f.types, "gue") != (len(f.ports) > 0) {
		return nil, errors.New("GUE tunnels need both --tun-type gue and --tun-port PORT")
	}
	var tunnels []decap.Tunnel
	add := func(text string) error {
		tunnel, err := decap.ParseTunnel(text)
		tunnels = append(tunnels, tunnel)
		return err
	}
	var errs []error
	for _, name := range f.types {
		if name != "gue" {
			errs = append(errs, add(name))
			continue
		}
		for _, port := range f.ports {
			errs = append(errs, add(fmt.Sprintf("gue:%d", port)))
		}
	}
	return tunnels, errors.Join(errs...)
}

func parseVIPs(texts []string) ([]netip.Addr, error) {
	var vips []netip.Addr
	for _, text := range texts {
		vip, err := parseVIP(text)
		if err != nil {
			return nil, err
		}
		vips = append(vips, vip)
	}
	return vips, nil
}

func printResult(w io.Writer, result realserver.Result) {
	for _, step := range result.Made {
		fmt.Fprintln(w, step)
	}
	for _, step := range result.Undone {
		fmt.Fprintln(w, "undone:", step)
	}
}

func printStatus(w io.Writer, output string, status realserver.Status) error {
	switch output {
	case "json":
		return writeJSON(w, status)
	case "text":
		return printStatusText(w, status)
	}
	return fmt.Errorf("output %q: not one of text, json", output)
}

func printStatusText(w io.Writer, status realserver.Status) error {
	if len(status.Wants)+len(status.Checks) == 0 {
		_, err := fmt.Fprintln(w, "no VIP is served here")
		return err
	}
	for _, want := range status.Wants {
		fmt.Fprintf(w, "VIP %s by %s\n", want.VIP, want.Method)
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "STATE\tBY\tWHAT")
	for _, check := range status.Checks {
		fmt.Fprintf(table, "%s\t%s\t%s\n", stateWord(check), makerWord(check), whatWord(check))
	}
	for _, count := range status.Counts {
		if count.Packets > 0 {
			fmt.Fprintf(table, "%d\tpackets\t%s\n", count.Packets, count.Verdict)
		}
	}
	return table.Flush()
}

func stateWord(check realserver.Check) string {
	if check.OK {
		return "ok"
	}
	return "missing"
}

func makerWord(check realserver.Check) string {
	switch {
	case check.ByUs:
		return "lvsx"
	case check.OK:
		return "others"
	}
	return "-"
}

func whatWord(check realserver.Check) string {
	if check.Detail == "" {
		return check.What
	}
	return check.What + " (" + check.Detail + ")"
}
