// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/lvsx/lvsx/internal/ipvs"
)

func serveAddMarkRules(w http.ResponseWriter, r *http.Request, d Director) {
	var rules []ipvs.MarkRule
	if err := readBody(w, r, &rules); err != nil {
		reject(w, fmt.Errorf("read mark rules: %w", err))
		return
	}
	answer(w, result{}, d.AddMarkRules(rules...))
}

func serveDeleteMarkRules(w http.ResponseWriter, r *http.Request, d Director) {
	var rules []ipvs.MarkRule
	if err := readBody(w, r, &rules); err != nil {
		reject(w, fmt.Errorf("read mark rules: %w", err))
		return
	}
	deleted, err := d.DeleteMarkRules(rules...)
	answer(w, deletion{deleted}, err)
}

// MarkRules returns all rules of firewall marks.
func (c *Client) MarkRules() (rules []ipvs.MarkRule, err error) {
	return rules, c.get("/v1/marks", &rules)
}

// AddMarkRules adds all the rules that are not there or, with an error, none.
func (c *Client) AddMarkRules(rules ...ipvs.MarkRule) error {
	return c.sendMarkRules(http.MethodPost, rules, &result{})
}

// DeleteMarkRules removes the rules for the same VIPs, protocols and ports and
// returns how many were there.
func (c *Client) DeleteMarkRules(rules ...ipvs.MarkRule) (int, error) {
	var d deletion
	err := c.sendMarkRules(http.MethodDelete, rules, &d)
	return d.Deleted, err
}

func (c *Client) sendMarkRules(method string, rules []ipvs.MarkRule, value any) error {
	body, err := json.Marshal(rules)
	if err != nil {
		return fmt.Errorf("write mark rules: %w", err)
	}
	request, err := http.NewRequest(method, "http://director/v1/marks", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("write mark rules: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask director: %w", err)
	}
	defer response.Body.Close()
	return readAnswer(response, value)
}
