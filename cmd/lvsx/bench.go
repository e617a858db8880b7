// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/bench"
)

func newBenchCommand() *cobra.Command {
	var output, cases string
	var quick bool
	cmd := &cobra.Command{
		Use:   "bench [--quick] [--cases REGEXP] [-o table|json]",
		Short: "Measure what the datapath costs a packet, beside floors in the same run",
		Long: `Send packets through the datapath by BPF_PROG_TEST_RUN, on one CPU and in a
network namespace of their own, and print nanoseconds a packet as ratios to a
MAC swap with XDP_TX; then what two CPUs carry together, the memory of tables,
and the director's own work. No interface of this machine is touched. Only
figures of one run compare: docs/performance.md says what they mean.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("output %q: not one of table, json", output)
			}
			config := bench.Full
			if quick {
				config = bench.Quick
			}
			if cases != "" {
				var err error
				if config.Cases, err = regexp.Compile(cases); err != nil {
					return fmt.Errorf("read names of cases: %w", err)
				}
			}
			if err := bench.RestartOrdinary(); err != nil {
				return err
			}
			report, err := bench.Run(cmd.Context(), config)
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), report)
			}
			return report.Print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "fewer and shorter rounds")
	cmd.Flags().StringVar(&cases, "cases", "", "only cases and floors whose names match `regexp`")
	addOutputFlag(cmd, &output)
	cmd.AddCommand(newBenchPathCommand())
	return cmd
}

func newBenchPathCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "path [-o table|json]",
		Short: "Measure whole ways of packets, beside the kernel's own directors",
		Long: `Send packets from a generator through virtual links and a director to a sink,
all in a network namespace of its own: lvsx, the kernel's IPVS and nftables as
far as the machine has them, and floors. Run in an emulator whose clock counts
instructions, it prints those: docs/performance.md.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("output %q: not one of table, json", output)
			}
			if err := bench.RestartOrdinary(); err != nil {
				return err
			}
			report, err := bench.RunPath(cmd.Context(), bench.ThePath)
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), report)
			}
			return report.Print(cmd.OutOrStdout())
		},
	}
	addOutputFlag(cmd, &output)
	return cmd
}
