// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/ipvs"
)

func newGetCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "get [NAME] [-o table|json]",
		Short: "Show the director's settings, the kernel's net.ipv4.vs.*",
		Long: `Show the director's settings: those that the kernel's IPVS has as sysctls
net.ipv4.vs.*, by the same names. Of one setting, show the value alone.`,
		Example: `  lvsx get
  lvsx get expire_nodest_conn`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			return getSettings(cmd.OutOrStdout(), args, output == "json")
		},
	}
	addOutputFlag(cmd, &output)
	return cmd
}

func newSetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set NAME VALUE",
		Short: "Change a setting of the director",
		Long: `Change a setting of the director. It acts from the next packet on and outlives the
director. lvsx get shows all settings with their defaults; to undo is to set back.`,
		Example: "  lvsx set expire_nodest_conn 1",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			client, err := dialDirector()
			if err != nil {
				return err
			}
			return client.Set(args[0], args[1])
		},
	}
	cmd.Flags().SetInterspersed(false) // -1 is a value
	return cmd
}

func getSettings(out io.Writer, names []string, asJSON bool) error {
	client, err := dialDirector()
	if err != nil {
		return err
	}
	settings, err := client.Settings()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return getSetting(out, settings, names[0], asJSON)
	}
	if asJSON {
		return writeJSON(out, settings)
	}
	return printSettings(out, settings)
}

func getSetting(out io.Writer, settings []ipvs.Setting, name string, asJSON bool) error {
	want, err := ipvs.FindSetting(name)
	if err != nil {
		return err
	}
	for _, s := range settings {
		switch {
		case s.Name != want.Name:
		case asJSON:
			return writeJSON(out, s)
		default:
			_, err := fmt.Fprintln(out, s.Value)
			return err
		}
	}
	return fmt.Errorf("get %s: this director is older than the setting; restart it", want.Name)
}

func printSettings(out io.Writer, settings []ipvs.Setting) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVALUE\tDEFAULT\tWHAT")
	for _, s := range settings {
		about := s.About
		if s.Fixed != "" {
			about += " (fixed: " + s.Fixed + ")"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.Name, s.Value, s.Default, about)
	}
	return table.Flush()
}
