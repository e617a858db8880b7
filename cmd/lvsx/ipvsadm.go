// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/lvsx/lvsx/internal/control"
	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/ipvsadm"
)

func newIPVSAdmCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "ipvsadm [ipvsadm's arguments]",
		Short:              "Configure the director with ipvsadm's command lines",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if status := runIPVSAdm(append([]string{"ipvsadm"}, args...)); status != 0 {
				return exitStatus(status)
			}
			return nil
		},
	}
}

func runIPVSAdm(args []string) int {
	program := &ipvsadm.Program{
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		DNS:    net.DefaultResolver,
		Open: func() (ipvsadm.Director, error) {
			client, err := dialDirector()
			if err != nil {
				return nil, err
			}
			return client, nil
		},
	}
	return program.Run(args)
}

// dialDirector connects to the director of this network namespace.
func dialDirector() (*control.Client, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("connect to director: only root may: %w", fs.ErrPermission)
	}
	dir, err := host.StatePath()
	if err != nil {
		return nil, err
	}
	return control.Dial(control.SocketPath(dir))
}
