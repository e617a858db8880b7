// SPDX-License-Identifier: Apache-2.0

package sched

// StartWRR returns where wrr starts on a list.
func StartWRR(l List) Cursor {
	return Cursor{Weight: l.MaxWeight}
}

// ChangeWRR returns wrr's cursor after any change of the list or its weights:
// the head again, and a current weight that fits the new divisor. It is not
// raised for a heavier newcomer (ip_vs_wrr.c: ip_vs_wrr_dest_changed).
func ChangeWRR(c Cursor, l List) Cursor {
	c.Position = 0
	switch {
	case c.Weight > l.MaxWeight || c.Weight == 0:
		c.Weight = l.MaxWeight
	case l.GCD > 1:
		c.Weight = c.Weight/l.GCD*l.GCD + 1
	}
	return c
}
