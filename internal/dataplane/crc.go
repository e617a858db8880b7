// SPDX-License-Identifier: Apache-2.0

package dataplane

import "hash/crc32"

// crc32cTable is what bpf/crc.h sums eight bytes at once by: the first row is the
// usual table, of the last byte; each further row is of the byte before.
func crc32cTable() (table [8][256]uint32) {
	table[0] = [256]uint32(*crc32.MakeTable(crc32.Castagnoli))
	for row := 1; row < len(table); row++ {
		for b, crc := range table[row-1] {
			table[row][b] = crc>>8 ^ table[0][crc&0xff]
		}
	}
	return table
}
