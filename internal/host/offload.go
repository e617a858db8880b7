// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"slices"
	"strings"

	"github.com/safchain/ethtool"
)

// transmitOffloads begin the names of what `ethtool -K LINK tx off tso off`
// turns off: what a link leaves to hardware that a packet taken by XDP never
// passes. New kernels keep adding to each family.
var transmitOffloads = []string{"tx-checksum-", "tx-tcp", "tx-udp-segmentation", "tx-sctp-segmentation", "tx-gso-list"}

// DisableTransmitOffload makes the link finish checksums and cut segments in
// software. On a veth an unfinished checksum otherwise reaches the peer's XDP
// program, and whatever it rewrites and sends on arrives broken.
func DisableTransmitOffload(link string) error {
	return setFeatures(link, transmitOffloads, false)
}

// SetReceiveOffload turns on or off the merging of received packets (GRO). A
// veth with GRO on also accepts frames that XDP redirects to it.
func SetReceiveOffload(link string, on bool) error {
	return setFeatures(link, []string{"rx-gro"}, on)
}

// vlanParsers are what `ethtool -K LINK rxvlan off rx-vlan-stag-hw-parse off`
// turns off.
var vlanParsers = []string{"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"}

// SetVLANOffload turns on or off that the link takes VLAN tags out of received
// frames, where XDP does not see them.
func SetVLANOffload(link string, on bool) error {
	return setFeatures(link, vlanParsers, on)
}

// VLANOffload tells whether it does.
func VLANOffload(link string) (bool, error) {
	return anyActive(link, vlanParsers...)
}

// setFeatures sets all features whose names begin so, but for those that the
// link cannot change.
func setFeatures(link string, prefixes []string, on bool) error {
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("open ethtool: %w", err)
	}
	defer tool.Close()

	states, err := tool.FeaturesWithState(link)
	if err != nil {
		return fmt.Errorf("read features of %s: %w", link, err)
	}
	wanted := make(map[string]bool)
	for name, state := range states {
		named := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		if named && state.Available && !state.NeverChanged && state.Active != on {
			wanted[name] = on
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	if err := tool.Change(link, wanted); err != nil {
		return fmt.Errorf("set features of %s: %w", link, err)
	}
	return nil
}

// ReceiveOffload tells whether the link merges received packets (GRO or LRO)
// before XDP in generic mode sees them.
func ReceiveOffload(link string) (bool, error) {
	return anyActive(link, "rx-gro", "rx-lro")
}

// anyActive tells whether a link has any of the features on.
func anyActive(link string, features ...string) (bool, error) {
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return false, fmt.Errorf("open ethtool: %w", err)
	}
	defer tool.Close()
	states, err := tool.FeaturesWithState(link)
	if err != nil {
		return false, fmt.Errorf("read features of %s: %w", link, err)
	}
	return slices.ContainsFunc(features, func(name string) bool { return states[name].Active }), nil
}
