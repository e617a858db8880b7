// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/control"
	"github.com/lvsx/lvsx/internal/ipvs"
)

func newListCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list [-o table|json]",
		Short: "List services and destinations with all that was observed of them",
		Long: `List services and destinations with all that was observed of them. The table is
that of ipvsadm -L -n, which has more ways to show it. Behind it stand the commands
that give services what ipvsadm does not know.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			if output == "table" {
				if status := runIPVSAdm([]string{"ipvsadm", "-L", "-n"}); status != 0 {
					return exitStatus(status)
				}
			}
			client, err := dialDirector()
			if err != nil {
				return err
			}
			services, err := client.Services()
			if err != nil {
				return err
			}
			if output == "table" {
				return printServiceSettings(cmd.OutOrStdout(), services)
			}
			return writeJSON(cmd.OutOrStdout(), services)
		},
	}
	addOutputFlag(cmd, &output)
	return cmd
}

func newConnectionsCommand() *cobra.Command {
	var output string
	var endpoints endpointFlags
	cmd := &cobra.Command{
		Use:   "connections [--client ADDR] [--vip ADDR] [--server ADDR] [--state STATE] [-o table|json]",
		Short: "List connections",
		Long: `List connections as they are found, without holding them all. ADDR is an
address, a network (192.0.2.0/24) or an address with a port (192.0.2.80:80). The
JSON is one array, one connection a line.`,
		Example: `  lvsx connections --client 198.51.100.0/24 --state established
  lvsx connections --server 10.0.0.11:8080 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			filter, err := endpoints.filter()
			if err != nil {
				return err
			}
			return listConnections(cmd.OutOrStdout(), filter, output == "json")
		},
	}
	addOutputFlag(cmd, &output)
	endpoints.add(cmd)
	cmd.AddCommand(newKillCommand())
	return cmd
}

func listConnections(out io.Writer, filter ipvs.ConnFilter, asJSON bool) error {
	client, err := dialDirector()
	if err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(out, 1<<16)
	if asJSON {
		err = writeConnArray(buffer, client, filter)
	} else {
		fmt.Fprintf(buffer, connColumns, "PROTO", "EXPIRES", "STATE", "CLIENT", "VIP", "SERVER")
		err = client.FilteredConns(filter, func(c ipvs.Conn) error { return printConn(buffer, c) })
	}
	if err != nil {
		return err
	}
	return buffer.Flush()
}

const connColumns = "%-5s  %-8s  %-11s  %-21s  %-21s  %s\n"

func printConn(w io.Writer, c ipvs.Conn) error {
	_, err := fmt.Fprintf(w, connColumns, c.Protocol, c.Expires.Truncate(time.Second), c.State, c.CIP, c.VIP, c.RIP)
	return err
}

// writeConnArray makes one array of connections. The buffer keeps the first error
// for Flush.
func writeConnArray(buffer *bufio.Writer, client *control.Client, filter ipvs.ConnFilter) error {
	before := "[\n"
	err := client.ConnLines(filter, func(line []byte) error {
		_, _ = buffer.WriteString(before)
		_, err := buffer.Write(line)
		before = ",\n"
		return err
	})
	if err != nil {
		return err
	}
	closing := "\n]\n"
	if before == "[\n" {
		closing = "[]\n"
	}
	_, err = buffer.WriteString(closing)
	return err
}
