// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lvsx/lvsx/internal/host"
)

// Passed is what went through a director, as `ipvsadm -L --stats --exact`
// counts it. Bytes are of the IP packets, without link and tunnel headers.
type Passed struct {
	ClientToServerPackets uint64 `json:"clientToServerPackets"`
	ServerToClientPackets uint64 `json:"serverToClientPackets"`
	ClientToServerBytes   uint64 `json:"clientToServerBytes"`
	ServerToClientBytes   uint64 `json:"serverToClientBytes"`
}

func (p Passed) sub(o Passed) Passed {
	return Passed{
		p.ClientToServerPackets - o.ClientToServerPackets,
		p.ServerToClientPackets - o.ServerToClientPackets,
		p.ClientToServerBytes - o.ClientToServerBytes,
		p.ServerToClientBytes - o.ServerToClientBytes,
	}
}

// Passed asks the director for its service's counters.
func (c *Cluster) Passed() (Passed, error) { return c.passedBy(director) }

func (c *Cluster) passedBy(node string) (Passed, error) {
	listing, err := c.Lvsx(node, "ipvsadm", "-L", "-n", "--stats", "--exact", "-t", c.Service.String())
	if err != nil {
		return Passed{}, err
	}
	return parsePassed(listing, c.Service.String())
}

// parsePassed reads the service's line of a listing:
//
//	Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
//	TCP  192.0.2.80:80                     300     1800     1500   114000   150000
func parsePassed(listing, service string) (Passed, error) {
	for line := range strings.Lines(listing) {
		fields := strings.Fields(line)
		if len(fields) != 7 || fields[0] != "TCP" || fields[1] != service {
			continue
		}
		var counts [4]uint64
		for i := range counts {
			n, err := strconv.ParseUint(fields[3+i], 10, 64)
			if err != nil {
				return Passed{}, fmt.Errorf("read counters of %s: %w", service, err)
			}
			counts[i] = n
		}
		return Passed{counts[0], counts[1], counts[2], counts[3]}, nil
	}
	return Passed{}, fmt.Errorf("read counters of %s: not in the listing:\n%s", service, listing)
}

// NodeTraffic returns the sums of the counters of a node's links: a witness
// that is not the director itself.
func (c *Cluster) NodeTraffic(node string) (host.Traffic, error) {
	var sum host.Traffic
	err := c.nodes[node].Do(func() error {
		for _, link := range c.topology.linksOf(node) {
			t, err := host.LinkTraffic(link)
			if err != nil {
				return err
			}
			sum = host.Traffic{
				RxPackets: sum.RxPackets + t.RxPackets,
				TxPackets: sum.TxPackets + t.TxPackets,
				RxBytes:   sum.RxBytes + t.RxBytes,
				TxBytes:   sum.TxBytes + t.TxBytes,
			}
		}
		return nil
	})
	return sum, err
}
