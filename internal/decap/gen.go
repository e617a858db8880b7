// SPDX-License-Identifier: Apache-2.0

package decap

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type verdict -type tunnel_type -type addr -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -I../../bpf/include -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" decap ../../bpf/decap.bpf.c
