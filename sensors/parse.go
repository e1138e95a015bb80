package sensors

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// A parser adds the fields of a line, which is UTF-8, to dst; why is set when
// the line is not what it should be, and dst then has what could be read.
type parser func(dst []record.Field, line []byte) (fields []record.Field, why string)

func newParser(c *config.Source) parser {
	w := make(words)
	switch c.Parse {
	case "csv":
		return func(dst []record.Field, line []byte) ([]record.Field, string) { return w.csv(dst, line, c.Fields) }
	case "json":
		return (&walker{words: w}).parse
	case "kv":
		return func(dst []record.Field, line []byte) ([]record.Field, string) { return w.kv(dst, line, c.Fields) }
	case "regexp":
		return func(dst []record.Field, line []byte) ([]record.Field, string) { return w.regexp(dst, line, c) }
	}
	f := config.Field{Name: "text"}
	if len(c.Fields) == 1 {
		f = c.Fields[0]
	}
	return func(dst []record.Field, line []byte) ([]record.Field, string) {
		if f.Unit == "" {
			return append(dst, record.Field{Name: f.Name, Type: record.String, Text: w.text(line)}), ""
		}
		return append(dst, w.typed(f, bytes.TrimSpace(line))), ""
	}
}

// words are short texts that came before: names, and states like "ok". They
// cost no garbage when they come again.
type words map[string]string

const (
	maxWords = 256
	maxWord  = 32 // bytes
)

func (w words) text(p []byte) string {
	if s, ok := w[string(p)]; ok {
		return s
	}
	s := string(p)
	if len(w) < maxWords && len(s) <= maxWord {
		w[s] = s
	}
	return s
}

// parseNumber takes a decimal number and nothing else: no hexadecimal, no
// underscores. Whole numbers that fit stay whole.
func parseNumber(p []byte) (record.Field, bool) {
	if len(p) == 0 || len(p) > 64 {
		return record.Field{}, false
	}
	whole := true
	for i, c := range p {
		switch {
		case c >= '0' && c <= '9', (c == '-' || c == '+') && i == 0:
		case c == '.' || c == 'e' || c == 'E' || c == '-' || c == '+':
			whole = false
		default:
			return record.Field{}, false
		}
	}
	if whole {
		if n, err := strconv.ParseInt(string(p), 10, 64); err == nil {
			return record.Field{Type: record.Int, Int: n}, true
		}
	}
	f, err := strconv.ParseFloat(string(p), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return record.Field{}, false
	}
	return record.Field{Type: record.Float, Num: f}, true
}

// notFinite recognises how devices say that they have no number.
func notFinite(p []byte) bool {
	if len(p) < 3 || len(p) > 9 {
		return false
	}
	p = bytes.TrimLeft(p, "+-")
	for _, w := range []string{"nan", "inf", "infinity"} {
		if strings.EqualFold(w, string(p)) {
			return true
		}
	}
	return false
}

// typed gives a value the type that it looks like; one with a unit is never a
// truth value.
func (w words) typed(f config.Field, p []byte) record.Field {
	v, ok := parseNumber(p)
	switch {
	case ok:
	case notFinite(p):
		v = record.Field{Type: record.Float, Num: math.NaN()}
	case f.Unit == "" && string(p) == "true":
		v = record.Field{Type: record.Bool, Int: 1}
	case f.Unit == "" && string(p) == "false":
		v = record.Field{Type: record.Bool}
	default:
		v = record.Field{Type: record.String, Text: w.text(p)}
	}
	v.Name = f.Name
	return v
}

// csv takes values between commas, in the order of fields; values may be
// quoted as RFC 4180 says.
func (w words) csv(dst []record.Field, line []byte, fields []config.Field) ([]record.Field, string) {
	n := 0
	take := func(p []byte) {
		if n < len(fields) {
			dst = append(dst, w.typed(fields[n], bytes.TrimSpace(p)))
		}
		n++
	}
	if bytes.IndexByte(line, '"') >= 0 {
		r := csv.NewReader(bytes.NewReader(line))
		r.TrimLeadingSpace = true
		values, err := r.Read()
		if err != nil {
			return dst, "not CSV"
		}
		for _, v := range values {
			take([]byte(v))
		}
	} else {
		rest, more := line, true
		for more {
			var p []byte
			p, rest, more = bytes.Cut(rest, []byte{','})
			take(p)
		}
	}
	if n != len(fields) {
		return dst, fmt.Sprintf("expected %d fields, found %d", len(fields), n)
	}
	return dst, ""
}

// maxFields bounds what one line may hold, maxDepth how an object is nested.
const (
	maxFields = 256
	maxDepth  = 8
)

var (
	errMany = fmt.Errorf("more than %d values", maxFields)
	errDeep = fmt.Errorf("nested deeper than %d", maxDepth)
)

// kv takes pairs like a=1 or a:1 between spaces, commas or semicolons;
// values may stand in double quotes.
func (w words) kv(dst []record.Field, line []byte, units []config.Field) ([]record.Field, string) {
	const between = " \t,;"
	rest := bytes.Trim(line, between)
	for len(rest) > 0 {
		i := bytes.IndexAny(rest, "=:")
		if i <= 0 || bytes.ContainsAny(bytes.TrimRight(rest[:i], " \t"), between) {
			return dst, "expected name=value"
		}
		if len(dst) >= maxFields {
			return dst, errMany.Error()
		}
		f := config.Field{Name: w.text(bytes.TrimSpace(rest[:i]))}
		rest = bytes.TrimLeft(rest[i+1:], " \t")
		var value []byte
		if len(rest) > 0 && rest[0] == '"' {
			end := bytes.IndexByte(rest[1:], '"')
			if end < 0 {
				return dst, "a quote is not closed"
			}
			value, rest = rest[1:1+end], rest[end+2:]
		} else if end := bytes.IndexAny(rest, between); end >= 0 {
			value, rest = rest[:end], rest[end:]
		} else {
			value, rest = rest, nil
		}
		rest = bytes.TrimLeft(rest, between)
		f.Unit = unitOf(units, f.Name)
		dst = put(dst, w.typed(f, value))
	}
	return dst, ""
}

// put adds a field, or replaces the one of the same name.
func put(dst []record.Field, f record.Field) []record.Field {
	for i := range dst {
		if dst[i].Name == f.Name {
			dst[i] = f
			return dst
		}
	}
	return append(dst, f)
}

// regexp takes the named groups of the pattern that matched something.
func (w words) regexp(dst []record.Field, line []byte, c *config.Source) ([]record.Field, string) {
	m := c.Pattern.FindSubmatch(line)
	if m == nil {
		return dst, "does not match the pattern"
	}
	for i, name := range c.Pattern.SubexpNames() {
		if name == "" || m[i] == nil {
			continue
		}
		f := config.Field{Name: name, Unit: unitOf(c.Fields, name)}
		dst = put(dst, w.typed(f, bytes.TrimSpace(m[i])))
	}
	return dst, ""
}
