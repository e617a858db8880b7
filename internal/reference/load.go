// SPDX-License-Identifier: Apache-2.0

package reference

// overhead is what lc, wlc, lblc, lblcr and twos compare.
func (d *dest) overhead() int64 {
	return int64(d.active)*256 + int64(d.total)
}

// delay is sed's and nq's overhead.
func (d *dest) delay() int64 {
	return int64(d.active) + 1
}

// byLoad chooses by the destinations' loads alone.
type byLoad func(s *service) *dest

func (byLoad) start(*service)               {}
func (byLoad) added(*service)               {}
func (byLoad) deleted(*service, *dest, int) {}
func (byLoad) edited(*service)              {}

func (f byLoad) choose(_ *Director, s *service, _ request) *dest { return f(s) }

// The schedulers of ip_vs_lc.c, wlc, sed, nq, fo and ovf.
var (
	leastConnections = byLoad(func(s *service) *dest {
		return best(s, (*dest).eligible, func(a, b *dest) bool { return a.overhead() < b.overhead() })
	})
	weightedLeast = byLoad(func(s *service) *dest { return leastByWeight(s, (*dest).overhead) })
	shortestDelay = byLoad(func(s *service) *dest { return leastByWeight(s, (*dest).delay) })
	neverQueue    = byLoad(func(s *service) *dest {
		for _, dest := range s.dests {
			if dest.eligible() && dest.active == 0 {
				return dest
			}
		}
		return shortestDelay(s)
	})
	failover = byLoad(func(s *service) *dest {
		return best(s, (*dest).eligible, heavier)
	})
	overflow = byLoad(func(s *service) *dest {
		hasRoom := func(d *dest) bool { return d.eligible() && int64(d.active) <= int64(d.Weight) }
		return best(s, hasRoom, heavier)
	})
)

func heavier(a, b *dest) bool { return a.Weight > b.Weight }

// best returns the first destination that none of the others beats.
func best(s *service, may func(*dest) bool, beats func(a, b *dest) bool) *dest {
	var found *dest
	for _, dest := range s.dests {
		if may(dest) && (found == nil || beats(dest, found)) {
			found = dest
		}
	}
	return found
}

// leastByWeight returns the destination with the least load for its weight.
func leastByWeight(s *service, load func(*dest) int64) *dest {
	return best(s, (*dest).eligible, func(a, b *dest) bool {
		return load(b)*int64(a.Weight) > load(a)*int64(b.Weight)
	})
}

// twos draws two by weight and takes the less loaded (ip_vs_twos.c).
type twos struct{ stateless }

func (twos) choose(d *Director, s *service, _ request) *dest {
	weights := int64(0)
	for _, dest := range s.dests {
		if dest.eligible() {
			weights += int64(dest.Weight)
		}
	}
	if weights == 0 {
		return nil
	}
	a, b := d.draw(s, weights), d.draw(s, weights)
	if int64(b.Weight)*a.overhead() > int64(a.Weight)*b.overhead() {
		return b
	}
	return a
}

// draw throws the dice for one destination.
func (d *Director) draw(s *service, weights int64) *dest {
	left := int64(d.throw(uint64(weights) + 1))
	for _, dest := range s.dests {
		if !dest.eligible() {
			continue
		}
		if left -= int64(dest.Weight); left <= 0 {
			return dest
		}
	}
	return nil
}

// throw returns a number below n, and turns the dice (a linear congruential
// generator, as the datapath's).
func (d *Director) throw(n uint64) uint64 {
	shown := uint64(d.Dice) * n >> 32
	d.Dice = d.Dice*747796405 + 2891336453
	return shown
}
