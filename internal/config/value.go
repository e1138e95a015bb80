package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// text takes a string; NUL, which no path, name or topic may have, is refused.
func text(to *string) func(*value) {
	return func(v *value) {
		if v.kind != stringKind || strings.Contains(v.text, "\x00") {
			v.expected("a string")
			return
		}
		*to = v.text
	}
}

// raw takes a string that is sent down a wire as it is.
func raw(to *string) func(*value) {
	return func(v *value) {
		if v.kind != stringKind {
			v.expected("a string")
			return
		}
		*to = v.text
	}
}

func oneOf(to *string, all ...string) func(*value) {
	return func(v *value) {
		if v.kind != stringKind || !slices.Contains(all, v.text) {
			v.expected("one of %s", quoted(all))
			return
		}
		*to = v.text
	}
}

// either takes one of two words, and is true with the second.
func either(to *bool, no, yes string) func(*value) {
	return func(v *value) {
		var w string
		oneOf(&w, no, yes)(v)
		*to = w == yes
	}
}

func quoted(all []string) string {
	q := make([]string, len(all))
	for i, s := range all {
		q[i] = strconv.Quote(s)
	}
	return strings.Join(q, ", ")
}

// words takes an array of words, each one of all.
func words(to *[]string, all ...string) func(*value) {
	return func(v *value) {
		*to = nil
		for _, n := range v.strings(false) {
			var w string
			oneOf(&w, all...)(v.of(n))
			*to = append(*to, w)
		}
	}
}

// strings are the items of an array, or a single one where alone allows it,
// that are strings.
func (v *value) strings(alone bool) (items []*node) {
	switch {
	case alone && v.kind == stringKind:
		return []*node{v.node}
	case v.kind != arrayKind && alone:
		v.expected("a string, or an array of strings")
	case v.kind != arrayKind:
		v.expected("an array of strings")
	}
	for _, n := range v.items {
		if n.kind != stringKind {
			v.of(n).expected("a string")
			continue
		}
		items = append(items, n)
	}
	return items
}

func boolean(to *bool) func(*value) {
	return func(v *value) {
		if v.kind != boolKind {
			v.expected("true or false")
			return
		}
		*to = v.text == "true"
	}
}

func whole(to *int, low, high int64, example string) func(*value) {
	return func(v *value) {
		n, ok := v.integer()
		if !ok || n < low || n > high {
			v.expected("an integer from %d to %d, for example %s", low, high, example)
			return
		}
		*to = int(n)
	}
}

// integer is the value of an integer in any of TOML's forms.
func (v *value) integer() (n int64, ok bool) {
	n, err := strconv.ParseInt(strings.ReplaceAll(v.text, "_", ""), 0, 64)
	return n, err == nil && v.kind == integerKind
}

func number(to *float64) func(*value) {
	return func(v *value) {
		f, ok := v.number()
		if !ok {
			v.expected("a number")
			return
		}
		*to = f
	}
}

func (v *value) number() (f float64, ok bool) {
	if v.kind == floatKind {
		f, err := strconv.ParseFloat(strings.ReplaceAll(v.text, "_", ""), 64)
		return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	n, ok := v.integer()
	return float64(n), ok
}

// limit takes a number that may be absent.
func limit(to **float64) func(*value) {
	return func(v *value) {
		*to = new(float64)
		number(*to)(v)
	}
}

const forever = 100 * 365 * 24 * time.Hour

// duration takes Go's form, from low to high; 0 too where zero says what that
// means.
func duration(to *time.Duration, low, high time.Duration, zero string) func(*value) {
	return func(v *value) {
		t, err := time.ParseDuration(v.text)
		if v.kind != stringKind || err != nil || (t < low || t > high) && (t != 0 || zero == "") {
			want := fmt.Sprintf("a duration of at least %v", low)
			if high < forever {
				want += fmt.Sprintf(" and at most %v", high)
			}
			want += ", for example \"30s\""
			if zero != "" {
				want += fmt.Sprintf(", or \"0s\": %s", zero)
			}
			v.expected("%s", want)
			return
		}
		*to = t
	}
}
