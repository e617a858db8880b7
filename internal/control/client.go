// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
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
	response, err := c.getAs("/v1/services", gobType)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, readRefusal(json.NewDecoder(response.Body))
	}
	if err := gob.NewDecoder(response.Body).Decode(&services); err != nil {
		return nil, fmt.Errorf("read director's answer: %w", cut(err))
	}
	return asLists(services), nil
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

// asLists makes of what gob leaves out the empty lists that JSON shows.
func asLists(services []ipvs.ServiceStatus) []ipvs.ServiceStatus {
	for i := range services {
		if services[i].Destinations == nil {
			services[i].Destinations = []ipvs.DestinationStatus{}
		}
	}
	if services == nil {
		services = []ipvs.ServiceStatus{}
	}
	return services
}

// getAs asks for an answer of a type.
func (c *Client) getAs(path, contentType string) (*http.Response, error) {
	request, err := http.NewRequest(http.MethodGet, "http://director"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask director: %w", err)
	}
	request.Header.Set("Accept", contentType)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask director: %w", err)
	}
	return response, nil
}

func (c *Client) get(path string, value any) error {
	response, err := c.getAs(path, jsonType)
	if err != nil {
		return err
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
