package sensors

import (
	"bytes"
	"encoding/json"
	"strconv"

	"edgeagg/internal/record"
)

// walker goes through JSON that is known to be valid.
type walker struct {
	words words
	rest  []byte
	name  []byte // of the value that is next, with the names around it
	dst   []record.Field
}

// parse takes an object; members of objects and arrays inside it get names
// with dots. A null is no value; of a name that comes twice the last counts.
func (j *walker) parse(dst []record.Field, line []byte) ([]record.Field, string) {
	j.rest, j.name, j.dst = line, j.name[:0], dst
	if j.space(); len(j.rest) == 0 || j.rest[0] != '{' || !json.Valid(j.rest) {
		return dst, "not a JSON object"
	}
	if err := j.value(0); err != nil {
		return dst, err.Error()
	}
	return j.dst, ""
}

// value takes the next value.
func (j *walker) value(depth int) error {
	j.space()
	switch c := j.rest[0]; c {
	case '{', '[':
		if depth > maxDepth {
			return errDeep
		}
		j.rest = j.rest[1:]
		return j.members(c == '{', depth)
	case '"':
		return j.put(record.Field{Type: record.String, Text: j.words.text(j.text())})
	case 't', 'f':
		f := record.Field{Type: record.Bool}
		if c == 't' {
			f.Int = 1
		}
		j.word()
		return j.put(f)
	case 'n':
		j.word()
		return nil
	}
	p := j.word()
	f, ok := parseNumber(p)
	if !ok { // a number with more digits than any measurement has
		f = record.Field{Type: record.String, Text: string(p)}
	}
	return j.put(f)
}

// members takes an object or an array up to its end.
func (j *walker) members(named bool, depth int) error {
	outer := len(j.name)
	for n := 0; ; n++ {
		j.name = j.name[:outer]
		j.space()
		switch j.rest[0] {
		case '}', ']':
			j.rest = j.rest[1:]
			return nil
		case ',':
			j.rest = j.rest[1:]
			j.space()
		}
		if outer > 0 {
			j.name = append(j.name, '.')
		}
		if !named {
			j.name = strconv.AppendInt(j.name, int64(n), 10)
		} else {
			key := j.text()
			if len(key) == 0 {
				key = []byte("_")
			}
			j.name = append(j.name, key...)
			j.space()
			j.rest = j.rest[1:] // the colon
		}
		if err := j.value(depth + 1); err != nil {
			return err
		}
	}
}

func (j *walker) put(f record.Field) error {
	f.Name = j.words.text(j.name)
	if len(j.dst) >= maxFields {
		return errMany
	}
	j.dst = put(j.dst, f)
	return nil
}

func (j *walker) space() { j.rest = bytes.TrimLeft(j.rest, " \t\r\n") }

// word takes a number or a name like true.
func (j *walker) word() []byte {
	n := bytes.IndexAny(j.rest, ",}] \t\r\n")
	p := j.rest[:n] // behind it comes the end of the object at least
	j.rest = j.rest[n:]
	return p
}

// text takes a string.
func (j *walker) text() []byte {
	n, escaped := 1, false
	for ; j.rest[n] != '"'; n++ {
		if j.rest[n] == '\\' {
			n, escaped = n+1, true
		}
	}
	p := j.rest[:n+1]
	j.rest = j.rest[n+1:]
	if !escaped {
		return p[1:n]
	}
	var s string
	if err := json.Unmarshal(p, &s); err != nil {
		return p[1:n] // never: it is valid
	}
	return []byte(s)
}
