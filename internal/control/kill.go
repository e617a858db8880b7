// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// serveKill wants to be told if it is to kill all.
func serveKill(w http.ResponseWriter, r *http.Request, d Director) {
	filter, err := parseFilter(r)
	if err == nil && filter == (ipvs.ConnFilter{}) && r.URL.Query().Get("all") != "true" {
		err = errors.New("kill connections: a filter is missing, or all=true")
	}
	if err != nil {
		reject(w, err)
		return
	}
	killed, err := d.Kill(filter, r.URL.Query().Get("countOnly") == "true")
	answer(w, killed, err)
}

// Kill ends the connections that the filter chooses, with its zero value all,
// or only counts them.
func (c *Client) Kill(filter ipvs.ConnFilter, countOnly bool) (killed ipvs.Killed, err error) {
	query := filterQuery(filter)
	query.Set("all", strconv.FormatBool(filter == ipvs.ConnFilter{}))
	query.Set("countOnly", strconv.FormatBool(countOnly))
	response, err := c.http.Post("http://director/v1/connections/kill?"+query.Encode(), "", nil)
	if err != nil {
		return killed, fmt.Errorf("ask director: %w", err)
	}
	defer response.Body.Close()
	return killed, readAnswer(response, &killed)
}
