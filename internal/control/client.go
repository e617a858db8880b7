// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// ErrNoDirector is why Dial fails where no director runs.
var ErrNoDirector = errors.New("no director is running in this network namespace; start one with: lvsx director")

// answerTime is more than the largest table takes; a director that does not
// begin to answer by then is stopped.
const answerTime = 30 * time.Second

// Client speaks to a running director. It is an ipvsadm.Director and TimeoutKeeper.
type Client struct {
	http http.Client
}

// Dial connects to the director at the socket. It fails with ErrNoDirector if
// there is none, and with fs.ErrPermission for users who may not ask it.
func Dial(path string) (*Client, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	conn, err := dial(context.Background(), "", "")
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNoDirector
	case err != nil:
		return nil, fmt.Errorf("connect to director: %w", err)
	}
	if err := conn.Close(); err != nil {
		return nil, fmt.Errorf("connect to director: %w", err)
	}
	return &Client{http.Client{Transport: &http.Transport{
		DialContext: dial, ResponseHeaderTimeout: answerTime,
	}}}, nil
}

// Services returns all services with what was observed of them.
func (c *Client) Services() (services []ipvs.ServiceStatus, err error) {
	return services, c.get("/v1/services", &services)
}

// Service returns one service, or a Refusal with ESRCH.
func (c *Client) Service(key ipvs.Key) (service ipvs.ServiceStatus, err error) {
	query := url.Values{
		"protocol": {key.Protocol.String()},
		"vip":      {key.VIP.String()},
		"mark":     {strconv.FormatUint(uint64(key.Mark), 10)},
	}
	return service, c.get("/v1/services?"+query.Encode(), &service)
}

// Timeouts returns those of the director.
func (c *Client) Timeouts() (timeouts ipvs.Timeouts, err error) {
	return timeouts, c.get("/v1/timeouts", &timeouts)
}

// SetTimeouts sets those that are not zero.
func (c *Client) SetTimeouts(timeouts ipvs.Timeouts) error {
	return c.put("/v1/timeouts", timeouts)
}

// Settings returns all settings of the director, by name.
func (c *Client) Settings() (settings []ipvs.Setting, err error) {
	return settings, c.get("/v1/settings", &settings)
}

// Set gives a setting a value.
func (c *Client) Set(name, value string) error {
	return c.put("/v1/settings", setting{name, value})
}

// Status returns the director's state of health.
func (c *Client) Status() (status Status, err error) {
	return status, c.get("/v1/status", &status)
}

// Conns calls yield for each connection as they arrive.
func (c *Client) Conns(yield func(ipvs.Conn) error) error {
	return c.FilteredConns(ipvs.ConnFilter{}, yield)
}

// FilteredConns calls yield for each connection that the filter chooses, as
// they arrive. The director does the choosing.
func (c *Client) FilteredConns(filter ipvs.ConnFilter, yield func(ipvs.Conn) error) error {
	query := url.Values{
		"client": {filter.Client.String()},
		"vip":    {filter.VIP.String()},
		"server": {filter.Server.String()},
		"state":  {filter.State},
	}
	response, err := c.http.Get("http://director/v1/connections?" + query.Encode())
	if err != nil {
		return fmt.Errorf("ask director: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return readRefusal(json.NewDecoder(response.Body))
	}
	lines := json.NewDecoder(response.Body)
	for {
		var line struct {
			ipvs.Conn
			last
		}
		if err := lines.Decode(&line); err != nil {
			return fmt.Errorf("read connections: %w", cut(err))
		}
		if line.End {
			return line.last.err()
		}
		if err := yield(line.Conn); err != nil {
			return err
		}
	}
}

// cut names the end of a stream that came without its last line.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (l last) err() error {
	if l.Error != "" {
		return errors.New(l.Error)
	}
	return nil
}

func (c *Client) put(path string, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write question: %w", err)
	}
	request, err := http.NewRequest(http.MethodPut, "http://director"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("write question: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask director: %w", err)
	}
	defer response.Body.Close()
	var r result
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil {
		return fmt.Errorf("read director's answer: %w", err)
	}
	return r.err()
}

func (c *Client) get(path string, value any) error {
	response, err := c.http.Get("http://director" + path)
	if err != nil {
		return fmt.Errorf("ask director: %w", err)
	}
	defer response.Body.Close()
	return readAnswer(response, value)
}

// readAnswer reads a value, or the refusal that came instead.
func readAnswer(response *http.Response, value any) error {
	answer := json.NewDecoder(response.Body)
	if response.StatusCode == http.StatusOK {
		if err := answer.Decode(value); err != nil {
			return fmt.Errorf("read director's answer: %w", err)
		}
		return nil
	}
	return readRefusal(answer)
}

func readRefusal(answer *json.Decoder) error {
	var r result
	if err := answer.Decode(&r); err != nil {
		return fmt.Errorf("read director's answer: %w", err)
	}
	return r.err()
}
