// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"fmt"
	"strings"
)

// words reads a command line in the way of popt, the library that ipvsadm uses:
// short options may be clustered, their value may follow at once, after "=" or
// as the next word; long options are never abbreviated; arguments may stand
// between options.
type words struct {
	left      []string // words not yet read
	cluster   string   // short options left of the current word
	word      string   // the current word, for messages
	literal   bool     // after "--" all words are arguments
	arguments []string // words that are no options
}

// match is an option found, with its value.
type match struct {
	option   *option
	value    string
	hasValue bool
}

// next returns the next option, or one without an option at the end.
func (w *words) next() (match, error) {
	for w.cluster == "" {
		if len(w.left) == 0 {
			return match{}, nil
		}
		word := w.left[0]
		w.left = w.left[1:]
		switch {
		case w.literal, len(word) < 2, word[0] != '-':
			w.arguments = append(w.arguments, word)
		case word == "--":
			w.literal = true
		case word[1] == '-':
			w.word = word
			return w.long(word[2:])
		default:
			w.word = word
			w.cluster = word[1:]
		}
	}
	return w.short()
}

func (w *words) long(name string) (match, error) {
	name, value, hasValue := strings.Cut(name, "=")
	o := findLong(name)
	if o == nil {
		return match{}, w.bad("unknown option")
	}
	if hasValue {
		if o.value == noValue {
			return match{}, w.bad("option does not take an argument")
		}
		return match{o, value, true}, nil
	}
	return w.valueOf(o)
}

func (w *words) short() (match, error) {
	o := findShort(w.cluster[0])
	if o == nil {
		return match{}, w.bad("unknown option")
	}
	rest := w.cluster[1:]
	w.cluster = ""
	if o.value == noValue {
		if strings.HasPrefix(rest, "=") {
			return match{}, w.bad("option does not take an argument")
		}
		w.cluster = rest
		return match{option: o}, nil
	}
	if rest != "" {
		return match{o, strings.TrimPrefix(rest, "="), true}, nil
	}
	return w.valueOf(o)
}

// valueOf takes the option's value from the next word. What looks like an
// option is a value only where one is required.
func (w *words) valueOf(o *option) (match, error) {
	switch {
	case o.value == noValue:
		return match{option: o}, nil
	case len(w.left) > 0 && (o.value == required || !strings.HasPrefix(w.left[0], "-")):
		w.word = w.left[0] // popt names the last word that it took
		w.left = w.left[1:]
		return match{o, w.word, true}, nil
	case o.value == required:
		return match{}, w.bad("missing argument")
	}
	return match{option: o}, nil
}

// argument takes the first word that was no option. Call it after the last next.
func (w *words) argument() (string, bool) {
	if len(w.arguments) == 0 {
		return "", false
	}
	first := w.arguments[0]
	w.arguments = w.arguments[1:]
	return first, true
}

func (w *words) bad(problem string) error {
	return &failure{code: exitRefused, text: fmt.Sprintf("%s: %s", w.word, problem), lineOnly: true}
}
