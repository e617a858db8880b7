// SPDX-License-Identifier: Apache-2.0

package dataplane

// weight returns a destination's weight now. Its entry says what it was before
// it was set to 0, which mh goes by.
func (d *Dataplane) weight(index uint32) int32 {
	if d.dests.at[index].Flags&directorDestFlagsDEST_QUIESCED != 0 {
		return 0
	}
	return d.dests.at[index].Weight
}

// weights returns those of a service's destinations, in the list's order.
func (d *Dataplane) weights(s *service) []int32 {
	weights := make([]int32, len(s.dests))
	for i, dest := range s.dests {
		weights[i] = d.weight(dest.index)
	}
	return weights
}

// addWeight sets a new destination's weight. One that comes with 0 never had
// another.
func (d *Dataplane) addWeight(index uint32, weight int32) {
	d.dests.at[index].Flags &^= directorDestFlagsDEST_QUIESCED
	d.dests.at[index].Weight = weight
}

// editWeight sets a destination's weight and remembers the one before a 0
// (ip_vs_ctl.c: __ip_vs_update_dest).
func (d *Dataplane) editWeight(index uint32, weight int32) {
	if weight == 0 {
		d.dests.at[index].Flags |= directorDestFlagsDEST_QUIESCED
		return
	}
	d.addWeight(index, weight)
}
