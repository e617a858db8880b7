// SPDX-License-Identifier: Apache-2.0

package sched

// InsertRR returns rr's cursor after a destination came to the front of the
// list: it stays on the destination picked last.
func InsertRR(c Cursor) Cursor {
	if c.Position > 0 {
		c.Position++
	}
	return c
}

// RemoveRR returns rr's cursor after destination i (from 0) was removed; from
// the removed one it moves to the one before (ip_vs_rr.c: ip_vs_rr_del_dest).
func RemoveRR(c Cursor, i int) Cursor {
	if c.Position > uint32(i) {
		c.Position--
	}
	return c
}
