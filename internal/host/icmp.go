// SPDX-License-Identifier: Apache-2.0

package host

// ICMPLimit returns how many ICMP errors the machine may send a second, and how
// many at once. Older kernels tell only the first network namespace; elsewhere
// these are the defaults.
func ICMPLimit() (perSecond, burst uint32) {
	return readLimit("net/ipv4/icmp_msgs_per_sec", 1000), readLimit("net/ipv4/icmp_msgs_burst", 50)
}

func readLimit(name Sysctl, otherwise uint32) uint32 {
	value, err := name.Read()
	if err != nil || value < 0 {
		return otherwise
	}
	return uint32(value)
}
