package sensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"testing"
	"unicode/utf8"

	"edgeagg/internal/record"
)

func FuzzJSON(f *testing.F) {
	for _, line := range []string{
		`{}`, `[1]`, ` {"a" : { "b":[1, -2.5e3 ,"x\\n\u00fc\"",null,true,false,[],{}]},"":{"":1}} `, `{"a":1}{`, `{"a":01}`, `{"\ud800":"\ud83d\ude00"}`,
		`{"a":123456789012345678901234567890123456789012345678901234567890123456789}`, `{"a":{"x":1},"a":{"y":2}}`, `{"a":[[[[[[[[1]]]]]]]]}`, `{"a":[[[[[[[[[1]]]]]]]]]}`,
		"{\"a\":\"\t\"}", `{"a":1,}`, `{"a":"b\\"}`, "\u00a0{}", "",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if !utf8.ValidString(line) {
			return
		}
		got, why := (&walker{words: make(words)}).parse(nil, []byte(line))
		want, wantWhy := tokensJSON(nil, []byte(line))
		if !json.Valid([]byte(line)) { // tokens come before that is known
			want, wantWhy = nil, "not a JSON object"
		}
		if why != wantWhy || !slices.Equal(got, want) {
			t.Errorf("%q\n gave     %+v, %q\n expected %+v, %q", line, got, why, want, wantWhy)
		}
	})
}

// tokensJSON is the same, by way of encoding/json's tokens.
func tokensJSON(dst []record.Field, line []byte) ([]record.Field, string) {
	before := len(dst)
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	t, err := d.Token()
	if err != nil || t != json.Delim('{') {
		return dst, "not a JSON object"
	}
	dst, err = members(d, dst, "", '}', 0)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return dst, ""
		}
	}
	if errors.Is(err, errMany) || errors.Is(err, errDeep) {
		return dst[:before], err.Error()
	}
	return dst[:before], "not a JSON object"
}

// members reads an object or an array up to its end.
func members(d *json.Decoder, dst []record.Field, prefix string, end json.Delim, depth int) ([]record.Field, error) {
	if depth > maxDepth {
		return dst, errDeep
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
			return dst, errMany
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
