// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// runner calls BPF_PROG_TEST_RUN without garbage.
type runner struct {
	fd  uint32
	out [4096]byte
}

// runAttr is union bpf_attr as BPF_PROG_TEST_RUN has it.
type runAttr struct {
	fd, retval, sizeIn, sizeOut uint32
	in, out                     uint64
	repeat, duration            uint32
	contextIn, contextOut       uint32
	contexts                    [2]uint64
	flags, cpu, batch, pad      uint32
}

// xdpContext is struct xdp_md.
type xdpContext struct{ data, dataEnd, dataMeta, ingress, queue, egress uint32 }

// packet runs a frame, for XDP one that comes in by an interface, 0: by lo. It
// returns what the program answered and left of the frame.
func (r *runner) packet(frame []byte, ingress uint32) (action uint32, left []byte, err error) {
	const testRun = 10
	context := xdpContext{dataEnd: uint32(len(frame)), ingress: ingress}
	attr := runAttr{fd: r.fd, sizeIn: uint32(len(frame)), sizeOut: uint32(len(r.out)), repeat: 1}
	attr.in, attr.out = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(frame)))), uint64(uintptr(unsafe.Pointer(&r.out)))
	if ingress != 0 {
		attr.contextIn, attr.contexts[0] = uint32(unsafe.Sizeof(context)), uint64(uintptr(unsafe.Pointer(&context)))
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, testRun, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(frame)
	runtime.KeepAlive(&context)
	if errno != 0 {
		return 0, nil, errno
	}
	return attr.retval, r.out[:attr.sizeOut], nil
}
