// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lvsx/lvsx/internal/host"
)

const (
	requestLimit = 5 * time.Second // for one request
	hopeless     = 5               // failures from the first request on after which no more are sent
)

// Round is what became of a number of requests, one after the other, each
// with a connection of its own.
type Round struct {
	Requests  int            `json:"requests"`
	OK        int            `json:"ok"`
	Failed    int            `json:"failed"`
	PerServer map[string]int `json:"perServer"`

	FirstError error `json:"-"` // why the first request failed that did
}

// Send sends so many requests from the client to the service. done, if not
// nil, is called after each. It fails when ctx ends, or if nobody answers at
// all.
func (c *Cluster) Send(ctx context.Context, requests int, done func(int)) (Round, error) {
	round := Round{PerServer: make(map[string]int)}
	for _, s := range c.Servers {
		round.PerServer[s.Name] = 0
	}
	web := c.web(requestLimit)
	for ctx.Err() == nil && round.Requests < requests {
		name, err := ask(ctx, web, c.URL())
		if ctx.Err() != nil {
			break
		}
		round.count(name, err)
		if round.OK == 0 && round.Failed == hopeless {
			return round, fmt.Errorf("send requests: the first %d failed: %w", hopeless, round.FirstError)
		}
		if done != nil {
			done(round.Requests)
		}
	}
	return round, context.Cause(ctx)
}

func (r *Round) count(name string, err error) {
	r.Requests++
	if _, known := r.PerServer[name]; err == nil && !known {
		err = fmt.Errorf("answer %q: not the name of a real server", name)
	}
	if err == nil {
		r.OK++
		r.PerServer[name]++
		return
	}
	r.Failed++
	if r.FirstError == nil {
		r.FirstError = err
	}
}

// Download gets a stream of so many bytes through the service, by way of
// each, if that is not nil, and compares its hash.
func (c *Cluster) Download(ctx context.Context, size int64, each func(io.Reader) io.Reader) error {
	const seed = 1
	url := fmt.Sprintf("%sbulk?bytes=%d&seed=%d", c.URL(), size, seed)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := c.web(0).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var body io.Reader = response.Body
	if each != nil {
		body = each(body)
	}
	got, err := digest(body)
	if err != nil {
		return fmt.Errorf("download %d bytes: %w", size, err)
	}
	return compare(got, seed, size)
}

// Upload is Download the other way: the real server sends the hash.
func (c *Cluster) Upload(ctx context.Context, size int64, each func(io.Reader) io.Reader) error {
	const seed = 2
	body := Bulk(seed, size)
	if each != nil {
		body = each(body)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL()+"bulk", body)
	if err != nil {
		return err
	}
	request.ContentLength = size
	got, err := text(c.web(0).Do(request))
	if err != nil {
		return fmt.Errorf("upload %d bytes: %w", size, err)
	}
	return compare(got, seed, size)
}

func compare(got string, seed uint64, size int64) error {
	want, err := digest(Bulk(seed, size))
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("transfer %d bytes: SHA-256 is %s, want %s", size, got, want)
	}
	return nil
}

// web is an HTTP client in the client's namespace. Each request makes a new
// connection; a limit of 0 is none.
func (c *Cluster) web(limit time.Duration) *http.Client {
	return &http.Client{
		Timeout:   limit,
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, DialContext: dialFrom(c.nodes[client])},
	}
}

// dialFrom connects with a socket of the namespace. Where a socket belongs is
// settled when it is made: reading and writing may happen on any thread.
func dialFrom(n *host.Namespace) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var conn net.Conn
		err := n.Do(func() (err error) {
			dialer := net.Dialer{Timeout: requestLimit}
			conn, err = dialer.DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}

func ask(ctx context.Context, web *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	return text(web.Do(request))
}

// text returns the whole answer to a request that succeeded.
func text(response *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return "", err
	}
	answer := strings.TrimSpace(string(body))
	if response.StatusCode != http.StatusOK {
		return "", errors.New(response.Status + ": " + answer)
	}
	return answer, nil
}
