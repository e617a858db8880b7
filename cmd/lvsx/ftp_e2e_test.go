// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvsx/lvsx/internal/host"
	"github.com/lvsx/lvsx/internal/lab"
	"github.com/lvsx/lvsx/internal/testenv"
)

// FTP passes NAT in both modes and families: each data connection reaches the
// real server of its own control connection, also when another director has
// taken over between the two.
func TestFTPThroughNAT(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces, testenv.TCX)
	for _, options := range []lab.Options{
		{XDP: "native", Family: 4}, {XDP: "generic", Family: 4, Offload: true}, {XDP: "generic", Family: 6, Offload: true},
	} {
		t.Run(fmt.Sprintf("%s%d", options.XDP, options.Family), func(t *testing.T) {
			testFTP(t, newCluster(t, lab.NAT, options))
		})
	}
}

func testFTP(t *testing.T, c *lab.Cluster) {
	t.Helper()
	service := net.JoinHostPort(c.Service.Addr().String(), "21")
	mustLvsx(t, c, "ipvsadm", "-A", "-t", service, "-s", "rr")
	for _, s := range c.Servers {
		serveFTP(t, c.Node(s.Name), s.Name)
		mustLvsx(t, c, "ipvsadm", "-a", "-t", service, "-r", net.JoinHostPort(s.RIP.String(), "21"), "-m")
	}
	var sessions []*ftpSession
	for range c.Servers {
		sessions = append(sessions, loginFTP(t, c.Node("client"), service))
	}
	for round := range 2 {
		for _, mode := range modesOf(c) {
			for _, s := range sessions {
				s.transfer(mode)
			}
		}
		if round > 0 {
			break
		}
		if err := c.KillDirector(); err != nil {
			t.Fatal(err)
		}
		sessions[0].transfer("EPSV") // without a director
		if err := c.StartDirector(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if sessions[0].server == sessions[1].server {
		t.Errorf("both sessions were with %s", sessions[0].server)
	}
}

// modesOf are those of a cluster's family.
func modesOf(c *lab.Cluster) []string {
	if c.Service.Addr().Is4() {
		return []string{"EPSV", "EPRT", "PASV", "PORT"}
	}
	return []string{"EPSV", "EPRT"}
}

// The server may be the director itself.
func TestFTPOnDirector(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.BPF, testenv.Namespaces, testenv.TCX)
	for _, options := range []lab.Options{
		{XDP: "native", Family: 4}, {XDP: "native", Family: 6}, {XDP: "generic", Family: 4, Offload: true},
	} {
		t.Run(fmt.Sprintf("%s%d", options.XDP, options.Family), func(t *testing.T) {
			c := newCluster(t, lab.NAT, options)
			service := net.JoinHostPort(c.Service.Addr().String(), "21")
			server := net.JoinHostPort(addressToward(t, c, c.Servers[0].RIP).String(), "21")
			mustLvsx(t, c, "ipvsadm", "-A", "-t", service, "-s", "rr")
			mustLvsx(t, c, "ipvsadm", "-a", "-t", service, "-r", server, "-m")
			serveFTP(t, c.Node("director"), "director")
			for _, client := range []string{"client", "director"} {
				session := loginFTP(t, c.Node(client), service)
				for _, mode := range modesOf(c) {
					session.transfer(mode)
				}
			}
		})
	}
}

// ftpSession is a client's (RFC 959).
type ftpSession struct {
	t      *testing.T
	node   *host.Namespace
	conn   net.Conn
	text   *textproto.Conn
	server string // what the server says its name is
}

func loginFTP(t *testing.T, node *host.Namespace, service string) *ftpSession {
	t.Helper()
	s := &ftpSession{t: t, node: node}
	err := node.Do(func() (err error) {
		s.conn, err = net.DialTimeout("tcp", service, patience)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close() })
	s.text = textproto.NewConn(s.conn)
	s.server = s.expect(220)
	return s
}

func (s *ftpSession) expect(code int) string {
	s.t.Helper()
	_ = s.conn.SetDeadline(time.Now().Add(patience))
	_, message, err := s.text.ReadResponse(code)
	if err != nil {
		s.t.Fatalf("%s: %v", s.server, err)
	}
	return message
}

func (s *ftpSession) say(line string) {
	s.t.Helper()
	if err := s.text.PrintfLine("%s", line); err != nil {
		s.t.Fatal(err)
	}
}

// transfer fetches the server's file and sends as much, each over a data
// connection of its own.
func (s *ftpSession) transfer(mode string) {
	s.t.Helper()
	open := s.open(mode)
	s.say("RETR file")
	data, err := open()
	if err != nil {
		s.t.Fatalf("%s %s: %v", s.server, mode, err)
	}
	got, err := io.ReadAll(data)
	data.Close()
	if want := ftpFile(s.server); err != nil || string(got) != want {
		s.t.Errorf("%s %s: got %d bytes of %d, %.20q, %v", s.server, mode, len(got), len(want), got, err)
	}
	s.expect(150)
	s.expect(226)

	open = s.open(mode)
	s.say("STOR file")
	if data, err = open(); err != nil {
		s.t.Fatalf("%s %s: %v", s.server, mode, err)
	}
	if _, err := io.WriteString(data, ftpFile("client")); err != nil {
		s.t.Error(err)
	}
	data.Close()
	s.expect(150)
	if said, want := s.expect(226), strconv.Itoa(len(ftpFile("client"))); said != want {
		s.t.Errorf("%s %s: the server got %s bytes, want %s", s.server, mode, said, want)
	}
}

// open asks for a data connection and returns what waits for it.
func (s *ftpSession) open(mode string) func() (net.Conn, error) {
	s.t.Helper()
	switch mode {
	case "PASV", "EPSV":
		s.say(mode)
		code := map[string]int{"PASV": 227, "EPSV": 229}[mode]
		at := dataAddress(s.expect(code), s.conn.RemoteAddr())
		return func() (conn net.Conn, err error) {
			err = s.node.Do(func() error {
				conn, err = net.DialTimeout("tcp", at, patience)
				return err
			})
			return conn, err
		}
	}
	listener := listenIn(s.t, s.node, s.conn.LocalAddr())
	at := listener.Addr().(*net.TCPAddr).AddrPort()
	line := fmt.Sprintf("PORT %s,%d,%d", strings.ReplaceAll(at.Addr().String(), ".", ","), at.Port()>>8, at.Port()&0xff)
	if mode == "EPRT" {
		line = fmt.Sprintf("EPRT |%d|%s|%d|", map[bool]int{true: 1, false: 2}[at.Addr().Is4()], at.Addr(), at.Port())
	}
	s.say(line)
	s.expect(200)
	return func() (net.Conn, error) {
		defer listener.Close()
		_ = listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		return listener.Accept()
	}
}

// dataAddress reads the answer to PASV or EPSV.
func dataAddress(message string, peer net.Addr) string {
	if _, port, extended := strings.Cut(message, "(|||"); extended {
		host, _, _ := net.SplitHostPort(peer.String())
		return net.JoinHostPort(host, strings.TrimRight(port, "|)."))
	}
	_, numbers, _ := strings.Cut(message, "(")
	n := strings.Split(strings.TrimRight(numbers, ")."), ",")
	high, _ := strconv.Atoi(n[4])
	low, _ := strconv.Atoi(n[5])
	return net.JoinHostPort(strings.Join(n[:4], "."), strconv.Itoa(high<<8|low))
}

func listenIn(t *testing.T, node *host.Namespace, on net.Addr) (listener net.Listener) {
	t.Helper()
	address, _, _ := net.SplitHostPort(on.String())
	err := node.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(address, "0"))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return listener
}

// ftpFile is what a machine of that name has to send.
func ftpFile(name string) string { return strings.Repeat("from "+name+"\n", 100_000) }

// serveFTP is an FTP server that knows no more than the tests need.
func serveFTP(t *testing.T, node *host.Namespace, name string) {
	t.Helper()
	var listener net.Listener
	err := node.Do(func() (err error) {
		listener, err = net.Listen("tcp", ":21")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for conn, err := listener.Accept(); err == nil; conn, err = listener.Accept() {
			s := &ftpServer{t: t, node: node, name: name, conn: conn, text: textproto.NewConn(conn)}
			go s.serve()
		}
	}()
}

type ftpServer struct {
	t    *testing.T
	node *host.Namespace
	name string
	conn net.Conn
	text *textproto.Conn
	open func() (net.Conn, error) // the data connection
}

func (s *ftpServer) serve() {
	defer s.conn.Close()
	s.say("220 %s", s.name)
	for {
		line, err := s.text.ReadLine()
		if err != nil {
			return
		}
		command, argument, _ := strings.Cut(line, " ")
		s.obey(command, argument)
	}
}

func (s *ftpServer) say(format string, args ...any) {
	_ = s.text.PrintfLine(format, args...) // a client that is gone hears nothing
}

func (s *ftpServer) obey(command, argument string) {
	switch command {
	case "PASV", "EPSV":
		s.listen(command)
	case "PORT", "EPRT":
		s.open = func() (net.Conn, error) { return s.call(clientAddress(argument)) }
		s.say("200 yes")
	case "RETR", "STOR":
		s.say("150 now")
		data, err := s.open()
		if err != nil {
			s.say("425 %v", err)
			return
		}
		size := int64(0)
		if command == "RETR" {
			_, err = io.WriteString(data, ftpFile(s.name))
		} else {
			size, err = io.Copy(io.Discard, data)
		}
		data.Close()
		s.say("226 %d", size)
		if err != nil {
			s.t.Errorf("%s: %s: %v", s.name, command, err)
		}
	default:
		s.say("500 what is %s?", command)
	}
}

func (s *ftpServer) listen(command string) {
	listener := listenIn(s.t, s.node, s.conn.LocalAddr())
	at := listener.Addr().(*net.TCPAddr).AddrPort()
	s.open = func() (net.Conn, error) {
		defer listener.Close()
		_ = listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		return listener.Accept()
	}
	if command == "EPSV" {
		s.say("229 Entering Extended Passive Mode (|||%d|)", at.Port())
		return
	}
	s.say("227 Entering Passive Mode (%s,%d,%d).", strings.ReplaceAll(at.Addr().String(), ".", ","), at.Port()>>8, at.Port()&0xff)
}

// call connects to a client from port 20, as RFC 959 has it.
func (s *ftpServer) call(to string) (conn net.Conn, err error) {
	host, _, _ := net.SplitHostPort(s.conn.LocalAddr().String())
	dialer := net.Dialer{
		Timeout:   patience,
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 20)),
		Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) })
		},
	}
	err = s.node.Do(func() error {
		conn, err = dialer.Dial("tcp", to)
		return err
	})
	return conn, err
}

// clientAddress reads the argument of PORT or EPRT.
func clientAddress(argument string) string {
	if bars := strings.Split(argument, "|"); len(bars) > 3 {
		return net.JoinHostPort(bars[2], bars[3])
	}
	return dataAddress("("+argument+")", nil)
}
