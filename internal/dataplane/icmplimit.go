// SPDX-License-Identifier: Apache-2.0

package dataplane

// SetICMPLimit says how many ICMP errors the datapath may send a second, and
// how many at once: net.ipv4.icmp_msgs_per_sec and icmp_msgs_burst. With 0 a
// second it may send any number.
func (d *Dataplane) SetICMPLimit(perSecond, burst uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settings.IcmpBurst, d.settings.IcmpRate = burst, perSecond
}
