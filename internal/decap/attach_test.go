// SPDX-License-Identifier: Apache-2.0

package decap

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/testenv"
)

// inNamespace runs f in a namespace with a veth, eth0.
func inNamespace(t *testing.T, f func(eth0 host.Link) error) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Namespaces, testenv.BPF)
	err := testenv.Namespace(t, "attach").Do(func() error {
		if err := host.AddVeth(host.VethEnd{Name: "eth0"}, host.VethEnd{Name: "peer"}); err != nil {
			return err
		}
		eth0, err := host.LinkByName("eth0")
		if err != nil {
			return err
		}
		return f(eth0)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAttachModes(t *testing.T) {
	for _, test := range []struct {
		native bool
		want   host.XDPMode
	}{{true, host.NativeXDP}, {false, host.GenericXDP}} {
		t.Run(string(test.want), func(t *testing.T) {
			d := loadForTest(t)
			inNamespace(t, func(eth0 host.Link) error { return attachTwice(t, d, eth0.Index, test.native, test.want) })
		})
	}
}

// attachTwice expects the second time to replace the program.
func attachTwice(t *testing.T, d *Decapsulator, index int, native bool, want host.XDPMode) error {
	for range 2 {
		if err := d.Attach(index, native); err != nil {
			return err
		}
	}
	after, err := host.LinkByIndex(index)
	if after.XDP != want {
		t.Errorf("mode is %q, want %q", after.XDP, want)
	}
	attached, listErr := d.Attached()
	if diff := cmp.Diff([]int{index}, attached); diff != "" {
		t.Errorf("attached (-want +got):\n%s", diff)
	}
	return errors.Join(err, listErr, d.Detach(index), d.Detach(index))
}

func TestAttachBesideAnotherProgram(t *testing.T) {
	d := loadForTest(t)
	other, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	inNamespace(t, func(eth0 host.Link) error {
		attached, err := link.AttachXDP(link.XDPOptions{Program: other, Interface: eth0.Index, Flags: link.XDPGenericMode})
		if err != nil {
			return err
		}
		defer attached.Close()
		for _, native := range []bool{false, true} {
			if err := d.Attach(eth0.Index, native); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "another XDP program") {
				t.Errorf("native %t: error is %v, want %v", native, err, unix.EBUSY)
			}
		}
		return nil
	})
}

func TestAttachmentOfAGoneInterface(t *testing.T) {
	d := loadForTest(t)
	inNamespace(t, func(eth0 host.Link) error {
		if err := errors.Join(d.Attach(eth0.Index, false), host.DeleteLink("eth0")); err != nil {
			return err
		}
		attached, err := d.Attached()
		if len(attached) > 0 {
			t.Errorf("attached to %v", attached)
		}
		return errors.Join(err, d.Detach(eth0.Index))
	})
}
