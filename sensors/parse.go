package sensors

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// A parser adds the fields of a line to dst; why is set when the line is not
// what it should be, and then the text of the line goes beside what could be
// read.
type parser func(dst []record.Field, line []byte) (fields []record.Field, why string)

func newParser(c *config.Source) parser {
	switch c.Parse {
	case "csv":
		return func(dst []record.Field, line []byte) ([]record.Field, string) { return parseCSV(dst, line, c.Fields) }
	case "json":
		return func(dst []record.Field, line []byte) ([]record.Field, string) { return parseJSON(dst, line) }
	case "kv":
		return func(dst []record.Field, line []byte) ([]record.Field, string) { return parseKV(dst, line, c.Fields) }
	case "regexp":
		return func(dst []record.Field, line []byte) ([]record.Field, string) { return parseRegexp(dst, line, c) }
	}
	f := config.Field{Name: "text"}
	if len(c.Fields) == 1 {
		f = c.Fields[0]
	}
	return func(dst []record.Field, line []byte) ([]record.Field, string) {
		if f.Unit == "" {
			return append(dst, record.Field{Name: f.Name, Type: record.String, Text: string(line)}), ""
		}
		return append(dst, typed(f, bytes.TrimSpace(line))), ""
	}
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

// typed gives a value the type that its text and its unit ask for. Without a
// unit, a number with zeros in front is a text: a name, not an amount.
func typed(f config.Field, p []byte) record.Field {
	v, ok := parseNumber(p)
	switch {
	case ok && (f.Unit != "" || !padded(p)):
	case notFinite(p):
		v = record.Field{Type: record.Float, Num: math.NaN()}
	case f.Unit == "" && string(p) == "true":
		v = record.Field{Type: record.Bool, Int: 1}
	case f.Unit == "" && string(p) == "false":
		v = record.Field{Type: record.Bool}
	default:
		v = record.Field{Type: record.String, Text: string(p)}
	}
	v.Name = f.Name
	return v
}

func padded(p []byte) bool {
	p = bytes.TrimLeft(p, "+-")
	return len(p) > 1 && p[0] == '0' && p[1] >= '0' && p[1] <= '9'
}

// withText adds the line itself, of which something is wrong.
func withText(dst []record.Field, line []byte) []record.Field {
	for _, f := range dst {
		if f.Name == "text" {
			return dst
		}
	}
	return append(dst, record.Field{Name: "text", Type: record.String, Text: string(line)})
}

// parseCSV takes values between commas, in the order of fields; values may be
// quoted as RFC 4180 says.
func parseCSV(dst []record.Field, line []byte, fields []config.Field) ([]record.Field, string) {
	n := 0
	take := func(p []byte) {
		if n < len(fields) {
			dst = append(dst, typed(fields[n], bytes.TrimSpace(p)))
		}
		n++
	}
	if bytes.IndexByte(line, '"') >= 0 {
		r := csv.NewReader(bytes.NewReader(line))
		r.TrimLeadingSpace = true
		values, err := r.Read()
		if err != nil {
			return withText(dst, line), "not CSV"
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
		return withText(dst, line), fmt.Sprintf("expected %d fields, found %d", len(fields), n)
	}
	return dst, ""
}

// maxFields bounds what one line may hold.
const maxFields = 256

// parseKV takes pairs like a=1 or a:1 between spaces, commas or semicolons;
// values may stand in double quotes.
func parseKV(dst []record.Field, line []byte, units []config.Field) ([]record.Field, string) {
	const between = " \t,;"
	rest := bytes.Trim(line, between)
	for len(rest) > 0 {
		i := bytes.IndexAny(rest, "=:")
		if i <= 0 || bytes.ContainsAny(bytes.TrimRight(rest[:i], " \t"), between) || len(dst) >= maxFields {
			return withText(dst, line), "expected name=value"
		}
		f := config.Field{Name: string(bytes.TrimSpace(rest[:i]))}
		rest = bytes.TrimLeft(rest[i+1:], " \t")
		var value []byte
		if len(rest) > 0 && rest[0] == '"' {
			end := bytes.IndexByte(rest[1:], '"')
			if end < 0 {
				return withText(dst, line), "a quote is not closed"
			}
			value, rest = rest[1:1+end], rest[end+2:]
		} else if end := bytes.IndexAny(rest, between); end >= 0 {
			value, rest = rest[:end], rest[end:]
		} else {
			value, rest = rest, nil
		}
		rest = bytes.TrimLeft(rest, between)
		for _, u := range units {
			if u.Name == f.Name {
				f.Unit = u.Unit
			}
		}
		dst = put(dst, typed(f, value))
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

func parseRegexp(dst []record.Field, line []byte, c *config.Source) ([]record.Field, string) {
	m := c.Pattern.FindSubmatch(line)
	if m == nil {
		return withText(dst, line), "does not match the pattern"
	}
	for i, name := range c.Pattern.SubexpNames() {
		if name == "" || m[i] == nil {
			continue
		}
		f := config.Field{Name: name}
		for _, u := range c.Fields {
			if u.Name == name {
				f.Unit = u.Unit
			}
		}
		dst = put(dst, typed(f, bytes.TrimSpace(m[i])))
	}
	return dst, ""
}

// parseJSON takes an object; members of objects and arrays inside it get names
// with dots. A null is no value.
func parseJSON(dst []record.Field, line []byte) ([]record.Field, string) {
	before := len(dst)
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	t, err := d.Token()
	if err != nil || t != json.Delim('{') {
		return withText(dst, line), "not a JSON object"
	}
	dst, err = members(d, dst, "", '}', 0)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return dst, ""
		}
	}
	return withText(dst[:before], line), "not a JSON object"
}

// members reads an object or an array up to its end.
func members(d *json.Decoder, dst []record.Field, prefix string, end json.Delim, depth int) ([]record.Field, error) {
	if depth > 8 {
		return dst, errors.New("nested too deep")
	}
	for n := 0; ; n++ {
		t, err := d.Token()
		if err != nil {
			return dst, err
		}
		if t == end {
			return dst, nil
		}
		name := prefix + strconv.Itoa(n)
		if end == '}' {
			key, _ := t.(string)
			if key == "" {
				key = "_"
			}
			name = prefix + key
			if t, err = d.Token(); err != nil {
				return dst, err
			}
		}
		if len(dst) >= maxFields {
			return dst, errors.New("too many values")
		}
		switch v := t.(type) {
		case json.Delim:
			inner := json.Delim('}')
			if v == '[' {
				inner = ']'
			}
			if dst, err = members(d, dst, name+".", inner, depth+1); err != nil {
				return dst, err
			}
		case json.Number:
			f, ok := parseNumber([]byte(v))
			if !ok {
				f = record.Field{Type: record.String, Text: v.String()}
			}
			f.Name = name
			dst = put(dst, f)
		case string:
			dst = put(dst, record.Field{Name: name, Type: record.String, Text: v})
		case bool:
			f := record.Field{Name: name, Type: record.Bool}
			if v {
				f.Int = 1
			}
			dst = put(dst, f)
		}
	}
}
