// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/control"
)

func newStatusCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status [-o table|json]",
		Short: "Show the director's interfaces, problems and what became of packets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			client, err := dialDirector()
			if err != nil {
				return err
			}
			status, err := client.Status()
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), status)
			}
			return printDirectorStatus(cmd.OutOrStdout(), status)
		},
	}
	addOutputFlag(cmd, &output)
	return cmd
}

// shownProblems leave the rest of the status on the screen.
const shownProblems = 20

// printDirectorStatus leaves out verdicts that no packet had.
func printDirectorStatus(w io.Writer, status control.Status) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "director\t%s, process %d, since %s\n", status.Version, status.PID, status.Started.Format(time.DateTime))
	fmt.Fprintf(t, "services\t%d\n", status.Services)
	fmt.Fprintf(t, "connections\t%d, room for %d\n", status.Connections.Live, status.Connections.Capacity)
	for _, i := range status.Interfaces {
		fmt.Fprintf(t, "interface\t%s, XDP %s\n", i.Name, i.Mode)
	}
	for _, front := range status.Fronts {
		fmt.Fprintf(t, "front\t%s\n", front)
	}
	for _, p := range status.Problems[:min(len(status.Problems), shownProblems)] {
		fmt.Fprintf(t, "problem\t%s\n", p)
	}
	if more := len(status.Problems) - shownProblems; more > 0 {
		fmt.Fprintf(t, "problem\tand %d more: lvsx status -o json has all\n", more)
	}
	for _, v := range status.Verdicts {
		if v.Packets > 0 {
			fmt.Fprintf(t, "%s\t%s: %d packets\n", v.Fate, v.Name, v.Packets)
		}
	}
	return t.Flush()
}
