// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTopologies(t *testing.T) {
	for i, method := range []Method{NAT, TUN, DR, Nested, NestedDR, NAT, TUN, DR, Nested, NestedDR} {
		topology := topologyOf(method, maxServers, 4+i/5*2)
		known := make(map[string]bool)
		for _, node := range topology.nodes() {
			known[node] = true
		}
		used := make(map[string]string)
		networks := make(map[netip.Addr]netip.Prefix)
		for _, w := range topology.wires {
			for _, e := range []end{w.a, w.b} {
				place := e.node + " " + e.link
				if !known[e.node] || len(e.link) > 15 || used[place] != "" {
					t.Errorf("%s: %s: no such node, a name too long, or twice", method, place)
				}
				used[place] = place
				if isSwitch(e.node) {
					continue
				}
				address := netip.MustParsePrefix(e.address)
				if other := used[address.Addr().String()]; other != "" {
					t.Errorf("%s: %s is on %s and %s", method, address, other, place)
				}
				used[address.Addr().String()] = place
				networks[address.Addr()] = address.Masked()
			}
		}
		for node, gateway := range topology.gateways {
			if _, there := networks[netip.MustParseAddr(gateway)]; !there || !known[node] {
				t.Errorf("%s: %s has gateway %s, which nobody is", method, node, gateway)
			}
		}
		last := topology.servers[len(topology.servers)-1]
		sameNetwork := networks[last.RIP] == networks[topology.dip]
		if sameNetwork != (method == DR) {
			t.Errorf("%s: director and real servers on one network is %t", method, sameNetwork)
		}
	}
}

func TestParsePassed(t *testing.T) {
	const listing = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  192.0.2.80:80                     300     1800     1500   121500 98765432100
  -> 10.0.0.11:8080                    100      600      500    40500    39700
`
	got, err := parsePassed(listing, "192.0.2.80:80")
	if want := (Passed{1800, 1500, 121500, 98765432100}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", strings.Replace(listing, "1800", "18K", 1), strings.Replace(listing, "80:80", "80:81", 1)} {
		if got, err := parsePassed(bad, "192.0.2.80:80"); err == nil {
			t.Errorf("no error but %+v from:\n%s", got, bad)
		}
	}
}

func TestServer(t *testing.T) {
	server := httptest.NewServer(handler("rs7"))
	defer server.Close()
	if got, err := text(http.Get(server.URL + "/")); err != nil || got != "rs7" {
		t.Errorf("name is %q, %v", got, err)
	}
	response, err := http.Get(server.URL + "/bulk?bytes=100000&seed=5")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	sent, err := digest(response.Body)
	if err := errors.Join(err, compare(sent, 5, 100000)); err != nil {
		t.Error(err)
	}
	taken, err := text(http.Post(server.URL+"/bulk", "", Bulk(6, 100000)))
	if err := errors.Join(err, compare(taken, 6, 100000)); err != nil {
		t.Error(err)
	}
	if err := compare(taken, 5, 100000); err == nil {
		t.Error("another stream has the same hash")
	}
	for _, query := range []string{"", "?bytes=-1&seed=1", "?bytes=1&seed=x"} {
		if got, err := text(http.Get(server.URL + "/bulk" + query)); err == nil {
			t.Errorf("bulk%s gives %q", query, got)
		}
	}
}

func TestBulkIsTheSameForASeed(t *testing.T) {
	read := func(seed uint64) []byte {
		b, err := io.ReadAll(Bulk(seed, 1000))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !bytes.Equal(read(1), read(1)) || bytes.Equal(read(1), read(2)) || len(read(1)) != 1000 {
		t.Error("streams of 1000 bytes are not the same for the same seed only")
	}
}

func TestRoundCounts(t *testing.T) {
	r := Round{PerServer: map[string]int{"rs1": 0, "rs2": 0}}
	for _, answer := range []struct {
		name string
		err  error
	}{{"rs1", nil}, {"rs9", nil}, {"", io.ErrUnexpectedEOF}, {"rs1", nil}} {
		r.count(answer.name, answer.err)
	}
	if r.FirstError == nil || !strings.Contains(r.FirstError.Error(), "rs9") {
		t.Errorf("first error is %v, want that of rs9", r.FirstError)
	}
	r.FirstError = nil
	if diff := cmp.Diff(Round{Requests: 4, OK: 2, Failed: 2, PerServer: map[string]int{"rs1": 2, "rs2": 0}}, r); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestScreen(t *testing.T) {
	var out bytes.Buffer
	screen := NewScreen(&out)
	topology := topologyOf(DR, 2, 4)
	c := &Cluster{Method: DR, Service: netip.AddrPortFrom(topology.vip, 80), Servers: topology.servers}
	result := Result{
		Method:   DR,
		Round:    Round{Requests: 4, OK: 4, PerServer: map[string]int{"rs1": 2, "rs2": 2}},
		Director: Passed{ClientToServerPackets: 24, ClientToServerBytes: 12345},
		xdp:      "generic",
		received: 26,
	}
	screen.begin(DR)
	screen.command("rs1", "lvsx realserver up --method dr --vip 192.0.2.80")
	screen.count(c, 1, 4)
	screen.round(c, result.Round, 12*time.Millisecond)
	screen.passed(result)
	if err := screen.Compare(Report{[]Result{result}}); err != nil {
		t.Fatal(err)
	}
	const want = `DR: the director changes the MAC address only; replies go straight to the client
            client > router > director > real server > router > client
  rs1       lvsx realserver up --method dr --vip 192.0.2.80
  client    4 requests to http://192.0.2.80/ in 12ms: all answered
            rs1 2   rs2 2
  director  by generic XDP: 24 packets (12 kB) to real servers, 0 packets (0 B) back
            its interfaces received 26 packets, ARP and all

METHOD  ANSWERED  PER REAL SERVER  TO REAL SERVERS     BACK THROUGH THE DIRECTOR
DR      4 of 4    2 2              24 packets (12 kB)  0 packets (0 B)

DR: replies through the director: 0 packets. All 4 went from the real servers straight to the client.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReportErr(t *testing.T) {
	good := Result{Method: NAT, Round: Round{Requests: 1, OK: 1}, Director: Passed{ServerToClientPackets: 5}}
	for want, r := range map[string]Result{
		"":                                   good,
		"nat: 1 of 2 requests failed: reset": {Method: NAT, Round: Round{Requests: 2, Failed: 1, FirstError: errors.New("reset")}},
		"dr: 5 packets of replies went through the director": {Method: DR, Director: good.Director},
	} {
		got := ""
		if err := (Report{[]Result{good, r}}).Err(); err != nil {
			got = fmt.Sprint(err)
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
