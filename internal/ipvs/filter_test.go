// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"net/netip"
	"testing"

	"github.com/lvsx/lvsx/internal/ipvs"
)

func TestConnFilter(t *testing.T) {
	conn := ipvs.Conn{
		CIP:   netip.MustParseAddrPort("198.51.100.7:40000"),
		VIP:   netip.MustParseAddrPort("192.0.2.80:80"),
		RIP:   netip.MustParseAddrPort("10.0.0.11:8080"),
		State: "ESTABLISHED",
	}
	for _, test := range []struct {
		name                       string
		client, vip, server, state string
		want                       bool
	}{
		{name: "nothing asked for", want: true},
		{name: "client", client: "198.51.100.7", want: true},
		{name: "another client", client: "198.51.100.8"},
		{name: "client's network", client: "198.51.100.0/24", want: true},
		{name: "another network", client: "203.0.113.0/24"},
		{name: "client and port", client: "198.51.100.7:40000", want: true},
		{name: "another port", client: "198.51.100.7:40001"},
		{name: "VIP", vip: "192.0.2.80:80", want: true},
		{name: "another service", vip: "192.0.2.80:443"},
		{name: "server", server: "10.0.0.11", want: true},
		{name: "another family", server: "::/0"},
		{name: "state in small letters", state: "established", want: true},
		{name: "another state", state: "TIME_WAIT"},
		{name: "all of it", client: "198.51.100.7", vip: "192.0.2.80", server: "10.0.0.11:8080", state: "ESTABLISHED", want: true},
		{name: "all but one", client: "198.51.100.7", vip: "192.0.2.80", server: "10.0.0.12", state: "ESTABLISHED"},
	} {
		filter := ipvs.ConnFilter{
			Client: endpoint(t, test.client), VIP: endpoint(t, test.vip), Server: endpoint(t, test.server), State: test.state,
		}
		if got := filter.Match(conn); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

func endpoint(t *testing.T, text string) ipvs.Endpoint {
	t.Helper()
	e, err := ipvs.ParseEndpoint(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ipvs.ParseEndpoint(e.String()); err != nil || again != e {
		t.Errorf("%q came back as %v, %v", text, again, err)
	}
	return e
}

func TestParseEndpointRefuses(t *testing.T) {
	for _, text := range []string{"x", "192.0.2.80:", "192.0.2.80:65536", "192.0.2.0/33", ":80", "192.0.2.0/24:80"} {
		if e, err := ipvs.ParseEndpoint(text); err == nil {
			t.Errorf("%q was read as %v", text, e)
		}
	}
}
