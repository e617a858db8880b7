// SPDX-License-Identifier: Apache-2.0

package dataplane

// The ends of ways that do alike are not to be merged (-mllvm): that would cost each a jump and
// the registers in which to keep what differs.
//
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type service_use -type engine -type wildcards -type call_key -type call -type conn_flags -type service_key -type mark_key -type mark_list -type mark_step -type mark_use -type mark_rule -type service -type slot -type table_line -type cache_key -type cache_entry -type list -type hop -type dest -type dest_load -type stats -type early_fragment -type timeout_setting -type timeout_set -type switches -type sysctl_key -type removal -type conn -type group -type interface -type verdict -type verdict_counts -type state -type scheduler -type forwarding -type dest_flags -type tunnel -type interface_flags -type filter_use -type handover_work -type vlan -type vlan_bits -type taken_tags -type addr -cflags "-O2 -mllvm -simplifycfg-sink-common=false -mllvm -simplifycfg-hoist-common=false -g -mcpu=v3 -Wall -Wextra -Werror -I../../bpf/include -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" director ../../bpf/director.bpf.c
