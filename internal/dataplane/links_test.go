// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"

	"github.com/lvsx/lvsx/internal/host"
)

// What runs on an interface goes on running without a director, and the next
// one puts its own program there.
func TestAdoptLinks(t *testing.T) {
	dir := pinDir(t)
	if err := host.AddVeth(host.VethEnd{Name: "a"}, host.VethEnd{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	a, b := linkIndex(t, "a"), linkIndex(t, "b")
	open := func() *Dataplane {
		t.Helper()
		d, err := Open(Config{PinDir: dir, Namespace: 7, Connections: 64})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	for ifindex, mode := range map[int]Mode{a: Generic, b: Native} {
		if err := d.Attach(ifindex, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	old := programOn(t, dir, a)
	if old == 0 {
		t.Fatal("nothing runs without the director")
	}

	d = open()
	if diff := cmp.Diff(map[int]Mode{a: Generic, b: Native}, d.Attached()); diff != "" {
		t.Errorf("Attached() (-want +got):\n%s", diff)
	}
	if now := programOn(t, dir, a); now != old {
		t.Errorf("program %d runs before Replace, want the old one, %d", now, old)
	}
	if err := d.Replace(); err != nil {
		t.Fatal(err)
	}
	if now := programOn(t, dir, a); now == old || now == 0 {
		t.Errorf("program %d runs after Replace, before it was %d", now, old)
	}
	if err := d.Attach(a, Generic); err != nil {
		t.Errorf("attach where it runs: %v", err)
	}
	if err := d.Attach(b, Generic); err != nil || d.Attached()[b] != Generic {
		t.Errorf("attach in another mode: %v, now %v", err, d.Attached())
	}
	if err := d.Detach(a); err != nil || programOn(t, dir, a) != 0 {
		t.Errorf("detach: %v, program %d runs", err, programOn(t, dir, a))
	}
	if err := d.Detach(a); err != nil {
		t.Errorf("detach twice: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	if err := host.DeleteLink("a"); err != nil {
		t.Fatal(err)
	}
	d = open()
	if len(d.Attached()) != 0 {
		t.Errorf("attached to what is gone: %v", d.Attached())
	}
	if left, err := os.ReadDir(filepath.Join(dir, linksDir)); err != nil || len(left) != 0 {
		t.Errorf("pins of links are left: %v, %v", left, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// programOn is the ID of the program that the pinned link of an interface runs,
// 0 without one.
func programOn(t *testing.T, dir string, ifindex int) ebpf.ProgramID {
	t.Helper()
	l, err := link.LoadPinnedLink(filepath.Join(dir, linksDir, pinName(ifindex, Generic)), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		t.Fatal(err)
	}
	return info.Program
}

func linkIndex(t *testing.T, name string) int {
	t.Helper()
	l, err := host.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l.Index
}
