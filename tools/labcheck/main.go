// SPDX-License-Identifier: Apache-2.0

// Command labcheck reads what "lvsx lab --json" printed from its standard input
// and tells whether the three methods balanced every request as they must.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

const requests = 300

type report struct {
	Methods []method `json:"methods"`
}

type method struct {
	Method    string         `json:"method"`
	Requests  int            `json:"requests"`
	OK        int            `json:"ok"`
	Failed    int            `json:"failed"`
	PerServer map[string]int `json:"perServer"`
	Director  struct {
		ClientToServerPackets uint64 `json:"clientToServerPackets"`
		ServerToClientPackets uint64 `json:"serverToClientPackets"`
	} `json:"director"`
}

func main() {
	var r report
	err := json.NewDecoder(os.Stdin).Decode(&r)
	if err == nil {
		err = r.check()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "labcheck:", err)
		os.Exit(1)
	}
	fmt.Println("labcheck: nat, tun and dr answered", requests, "of", requests, "requests each, evenly")
}

func (r report) check() error {
	var errs []error
	for _, name := range []string{"nat", "tun", "dr"} {
		i := slices.IndexFunc(r.Methods, func(m method) bool { return m.Method == name })
		if i < 0 {
			errs = append(errs, fmt.Errorf("%s: missing", name))
			continue
		}
		if err := r.Methods[i].check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (m method) check() error {
	least, most, sum := requests, 0, 0
	for _, n := range m.PerServer {
		least, most, sum = min(least, n), max(most, n), sum+n
	}
	replies := m.Director.ServerToClientPackets
	switch {
	case m.Requests != requests || m.OK != requests || m.Failed != 0:
		return fmt.Errorf("%d of %d requests answered, %d failed, want %d", m.OK, m.Requests, m.Failed, requests)
	case len(m.PerServer) != 3 || sum != requests || most-least > 1:
		return fmt.Errorf("uneven: %v", m.PerServer)
	case m.Director.ClientToServerPackets == 0:
		return errors.New("no request passed the director")
	case m.Method == "nat" && replies == 0:
		return errors.New("no reply passed the director")
	case m.Method != "nat" && replies != 0:
		return fmt.Errorf("%d replies passed the director", replies)
	}
	return nil
}
