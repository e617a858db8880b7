// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/lvsx/lvsx/internal/ipvs"
)

// What is large travels as gob where both ends are ours: to read the JSON of a
// large table takes longer than to make it.
const (
	jsonType = "application/json"
	gobType  = "application/x-gob"
)

// manyChanges are worth the description of their types that gob sends along.
const manyChanges = 20

// eachParameter in the query asks for every change that is accepted, not only
// those before the first that is refused.
const eachParameter = "each"

// Apply makes changes in order and stops at the first that is refused.
func (c *Client) Apply(changes ...ipvs.Change) (applied int, err error) {
	r, err := c.postChanges(changes, "")
	if err != nil {
		return 0, err
	}
	return r.Applied, r.err()
}

// ApplyEach makes all changes that are accepted, in order. After an error, which
// is no refusal, the rest is not tried.
func (c *Client) ApplyEach(changes ...ipvs.Change) (ipvs.Refused, error) {
	r, err := c.postChanges(changes, "?"+eachParameter)
	if err != nil {
		return nil, err
	}
	refused := make(ipvs.Refused, len(r.Refused))
	for _, refusal := range r.Refused {
		refused[refusal.At] = refusal.refusal()
	}
	return refused, r.err()
}

func (c *Client) postChanges(changes []ipvs.Change, query string) (r result, err error) {
	body, contentType, err := encodeChanges(changes)
	if err != nil {
		return r, fmt.Errorf("write changes: %w", err)
	}
	response, err := c.http.Post("http://director/v1/changes"+query, contentType, bytes.NewReader(body))
	if err != nil {
		return r, fmt.Errorf("ask director: %w", err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil {
		return r, fmt.Errorf("read director's answer: %w", err)
	}
	return r, nil
}

func encodeChanges(changes []ipvs.Change) (body []byte, contentType string, err error) {
	if len(changes) < manyChanges {
		body, err = json.Marshal(changes)
		return body, jsonType, err
	}
	var buffer bytes.Buffer
	err = gob.NewEncoder(&buffer).Encode(changes)
	return buffer.Bytes(), gobType, err
}

func serveChanges(w http.ResponseWriter, r *http.Request, d Director) {
	changes, err := readChanges(w, r)
	if err != nil {
		reject(w, fmt.Errorf("read changes: %w", err))
		return
	}
	if r.URL.Query().Has(eachParameter) {
		refused, err := ipvs.ApplyEach(changes, d.Apply)
		respond(w, http.StatusOK, toResultOfEach(refused, err))
		return
	}
	applied, err := d.Apply(changes...)
	respond(w, http.StatusOK, toResult(applied, err))
}

func readChanges(w http.ResponseWriter, r *http.Request) (changes []ipvs.Change, err error) {
	if r.Header.Get("Content-Type") != gobType {
		err = readBody(w, r, &changes)
		return changes, err
	}
	body := http.MaxBytesReader(w, r.Body, maxBody)
	decoder := gob.NewDecoder(body)
	if err := decoder.Decode(&changes); err != nil {
		return nil, err
	}
	var more []ipvs.Change
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the end")
	}
	for _, c := range changes {
		if err := checkWords(c); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

// checkWords refuses what JSON has no words for.
func checkWords(c ipvs.Change) error {
	op := c.Op
	return errors.Join(op.UnmarshalText([]byte(c.Op)), c.Service.Protocol.Check(), c.Destination.Forwarding.Check())
}
