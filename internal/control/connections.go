// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// Connections are streamed, so that nobody ever holds them all: as JSON, one a
// line, or as gob, which is read in a fraction of the time.

// connStream writes connections and what ends them.
type connStream interface {
	write(ipvs.Conn) error
	end(last) error
}

// last ends a stream of connections, so that a cut one is noticed.
type last struct {
	End   bool   `json:"end"`
	Error string `json:"error,omitempty"`
}

func (l last) err() error {
	if l.Error != "" {
		return errors.New(l.Error)
	}
	return nil
}

// chunk is what a stream of gob consists of.
type chunk struct {
	Conns []ipvs.Conn
	Last  last
}

type gobChunks struct {
	*gob.Encoder
	chunk
}

func (g *gobChunks) write(c ipvs.Conn) error {
	const room = 512
	g.Conns = append(g.Conns, c)
	if len(g.Conns) < room {
		return nil
	}
	err := g.Encode(g.chunk)
	g.Conns = g.Conns[:0]
	return err
}

func (g *gobChunks) end(end last) error {
	g.Last = end
	return g.Encode(g.chunk)
}

// serveConns streams the connections that the query chooses, and how it ended.
func serveConns(w http.ResponseWriter, r *http.Request, d Director) {
	filter, err := parseFilter(r)
	if err != nil {
		reject(w, err)
		return
	}
	buffer := bufio.NewWriterSize(w, 1<<16)
	var stream connStream
	if r.Header.Get("Accept") == gobType {
		w.Header().Set("Content-Type", gobType)
		stream = &gobChunks{Encoder: gob.NewEncoder(buffer)}
	} else {
		w.Header().Set("Content-Type", "application/x-ndjson")
		stream = &jsonLines{w: buffer}
	}
	end := last{End: true}
	if err := d.Conns(func(c ipvs.Conn) error {
		if !filter.Match(c) {
			return nil
		}
		return stream.write(c)
	}); err != nil {
		end.Error = err.Error()
	}
	// A client that is gone cannot be told.
	_ = stream.end(end)
	_ = buffer.Flush()
}

func parseFilter(r *http.Request) (filter ipvs.ConnFilter, err error) {
	query := r.URL.Query()
	filter.State = query.Get("state")
	for name, endpoint := range map[string]*ipvs.Endpoint{
		"client": &filter.Client, "vip": &filter.VIP, "server": &filter.Server,
	} {
		if *endpoint, err = ipvs.ParseEndpoint(query.Get(name)); err != nil {
			return filter, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return filter, nil
}

// Conns calls yield for each connection as they arrive.
func (c *Client) Conns(yield func(ipvs.Conn) error) error {
	return c.FilteredConns(ipvs.ConnFilter{}, yield)
}

// FilteredConns calls yield for each connection that the filter chooses, as
// they arrive. The director does the choosing.
func (c *Client) FilteredConns(filter ipvs.ConnFilter, yield func(ipvs.Conn) error) error {
	return c.streamConns(filter, gobType, func(stream io.Reader) error {
		decoder := gob.NewDecoder(stream)
		for {
			var next chunk
			if err := decoder.Decode(&next); err != nil {
				return fmt.Errorf("read connections: %w", cut(err))
			}
			for _, conn := range next.Conns {
				if err := yield(conn); err != nil {
					return err
				}
			}
			if next.Last.End {
				return next.Last.err()
			}
		}
	})
}

// ConnLines is FilteredConns, but that yield gets the JSON of each connection,
// good until the next.
func (c *Client) ConnLines(filter ipvs.ConnFilter, yield func(line []byte) error) error {
	return c.streamConns(filter, jsonType, func(stream io.Reader) error {
		lines := bufio.NewReaderSize(stream, 1<<16)
		for {
			line, err := lines.ReadSlice('\n')
			if err != nil {
				return fmt.Errorf("read connections: %w", cut(err))
			}
			if bytes.HasPrefix(line, []byte(`{"end":`)) {
				var end last
				if err := json.Unmarshal(line, &end); err != nil {
					return fmt.Errorf("read connections: %w", err)
				}
				return end.err()
			}
			if err := yield(line[:len(line)-1]); err != nil {
				return err
			}
		}
	})
}

func (c *Client) streamConns(filter ipvs.ConnFilter, contentType string, read func(io.Reader) error) error {
	response, err := c.getAs("/v1/connections?"+filterQuery(filter).Encode(), contentType)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return readRefusal(json.NewDecoder(response.Body))
	}
	return read(response.Body)
}

func filterQuery(filter ipvs.ConnFilter) url.Values {
	return url.Values{
		"client": {filter.Client.String()},
		"vip":    {filter.VIP.String()},
		"server": {filter.Server.String()},
		"state":  {filter.State},
	}
}

// cut names the end of a stream that came without its last line.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
