// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"io"
	"net/netip"
	"strconv"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// jsonLines writes a connection a line. Of a million connections encoding/json
// alone would take longer than all else does.
type jsonLines struct {
	w    io.Writer
	line []byte
}

func (l *jsonLines) write(c ipvs.Conn) (err error) {
	if l.line, err = appendConn(l.line[:0], c); err != nil {
		return err
	}
	_, err = l.w.Write(append(l.line, '\n'))
	return err
}

func (l *jsonLines) end(end last) error { return json.NewEncoder(l.w).Encode(end) }

// appendConn appends what json.Marshal returns.
func appendConn(b []byte, c ipvs.Conn) ([]byte, error) {
	protocol, err := c.Protocol.AppendText(append(b, `{"protocol":"`...))
	if err != nil {
		return nil, err
	}
	b = appendAddress(append(protocol, `","cip":"`...), c.CIP)
	b = appendAddress(append(b, `","vip":"`...), c.VIP)
	b = appendAddress(append(b, `","rip":"`...), c.RIP)
	b = append(append(b, `","state":"`...), c.State...)
	b = strconv.AppendInt(append(b, `","expiresNs":`...), int64(c.Expires), 10)
	if c.Template {
		b = append(b, `,"template":true`...)
	}
	for _, text := range []struct{ name, value string }{{"engine", c.Engine}, {"engineData", c.EngineData}} {
		if text.value == "" {
			continue
		}
		quoted, err := json.Marshal(text.value) // a client may have chosen it
		if err != nil {
			return nil, err
		}
		b = append(append(append(append(b, `,"`...), text.name...), `":`...), quoted...)
	}
	return append(b, '}'), nil
}

func appendAddress(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	return a.AppendTo(b)
}
