// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// defendBoth looks at the table as drop_entry does for so many seconds.
func (p *pair) defendBoth(seed uint64) {
	const seconds = 32
	dice := rand.New(rand.NewPCG(seed, 0))
	for range seconds {
		chosen := make([]uint32, max(1, len(p.groups.at)/32))
		for i := range chosen {
			chosen[i] = dice.Uint32N(uint32(len(p.groups.at)))
		}
		p.model.DropEntries(p.listGroups(chosen))
		p.defence.random = func(uint32) uint32 {
			next := chosen[0]
			chosen = chosen[1:]
			return next
		}
		p.Defend()
	}
}

// listGroups lists what lives in groups, in the order in which it is looked at.
func (p *pair) listGroups(chosen []uint32) (listed []ipvs.Conn) {
	now := p.clock.now()
	for _, group := range chosen {
		for e := range p.entries(int(group), int(group+1)) {
			life := atomic.LoadUint32(e.life)
			if conn, ok := p.read(e, life, now); ok && phaseOf(life) == phaseLive {
				listed = append(listed, conn)
			}
		}
	}
	return listed
}
