// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// needRoot is the PersistentPreRunE of commands that change or look at what only
// root may. Those that do nothing but show their subcommands are for everybody.
func needRoot(cmd *cobra.Command, _ []string) error {
	if os.Geteuid() == 0 || cmd.HasSubCommands() {
		return nil
	}
	return fmt.Errorf("%s: needs root; run it with sudo", strings.TrimPrefix(cmd.CommandPath(), "lvsx "))
}
