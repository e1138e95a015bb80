package sensors

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

func number(name string, v float64) record.Field { return record.Field{Name: name, Num: v} }
func text(name, s string) record.Field {
	return record.Field{Name: name, Type: record.String, Text: s}
}

func TestJudge(t *testing.T) {
	low, high := -10.0, 50.0
	c := config.Source{Name: "x", Kind: "simulate", Min: &low, Max: &high, Fields: []config.Field{{Name: "a", Unit: "V"}, {Name: "b"}}}
	o := options(newBook())
	s := newSource(&c, kinds["simulate"], &o)
	tests := []struct {
		name   string
		fields []record.Field
		want   string
	}{
		{"inside", []record.Field{number("a", -10), number("b", 50)}, `"fields":{"a":-10,"b":50}}`},
		{"below", []record.Field{number("a", 1), number("b", -10.5)}, `"quality":"bad","why":"b is below min","fields":{"a":1,"b":-10.5}}`},
		{"above", []record.Field{{Name: "a", Type: record.Int, Int: 51}}, `"quality":"bad","why":"a is above max","fields":{"a":51}}`},
		{"not finite", []record.Field{number("a", math.NaN()), number("b", 2)}, `"quality":"bad","why":"a is not finite","fields":{"b":2}}`},
		{"infinite", []record.Field{number("a", 1), number("b", math.Inf(-1))}, `"quality":"bad","why":"b is not finite","fields":{"a":1}}`},
		{"the first reason stays", []record.Field{number("a", 60), number("b", math.Inf(1))}, `"quality":"bad","why":"a is above max","fields":{"a":60}}`},
		{"text with a unit", []record.Field{text("a", "??"), number("b", 2)}, `"quality":"bad","why":"a is not a number","fields":{"b":2,"text":"??"}}`},
		{"text without a unit", []record.Field{text("b", "ok")}, `"fields":{"b":"ok"}}`},
		{"not UTF-8", []record.Field{text("b", "\xff")}, `"quality":"bad","why":"not UTF-8","fields":{"b":"` + "\uFFFD" + `"}}`},
		{"nothing", nil, `"quality":"bad","why":"no values","fields":{}}`},
	}
	for _, test := range tests {
		r := record.Record{Kind: record.Reading, Fields: test.fields}
		if s.judge(&r); show(r) != test.want {
			t.Errorf("%s: %s, expected %s", test.name, show(r), test.want)
		}
	}
}

// A record that is too long becomes bad and keeps its head, whatever it is made of.
func TestTooLongARecordKeepsItsHead(t *testing.T) {
	c := config.Source{Name: strings.Repeat("s", 64), Kind: "simulate"}
	o := options(newBook())
	var wide, mixed []record.Field
	for i := range 300 {
		wide = append(wide, number(strings.Repeat("n", i%20+1), float64(i)))
	}
	mixed = append(mixed, number("first", 1), text("long", strings.Repeat("ü", 5000)), number("last", 2))
	for most := 256; most < 6000; most += 61 {
		o.MaxRecord = most
		s := newSource(&c, kinds["simulate"], &o)
		for name, fields := range map[string][]record.Field{
			"one text": {text("text", strings.Repeat("é", 5000))}, "many numbers": wide, "mixed": mixed,
			"a long name": {number(strings.Repeat("n", 7000), 1)},
		} {
			r := record.Record{Kind: record.Reading, Source: c.Name, Time: now(), Fields: append([]record.Field(nil), fields...)}
			before := record.Append(nil, &r)
			p := s.encode([]byte("kept"), &r)
			var got record.Record
			if err := new(record.Decoder).Decode(p[len("kept"):], &got); err != nil || string(p[:4]) != "kept" {
				t.Fatalf("%s, %d: %v", name, most, err)
			}
			if len(before) <= most {
				if got.Quality != record.Good || len(got.Fields) != len(fields) {
					t.Errorf("%s, %d: %v with %d fields, though it fits", name, most, got.Quality, len(got.Fields))
				}
				continue
			}
			n := len(p) - len("kept")
			if n > most || got.Quality != record.Bad || got.Why != "too long" {
				t.Errorf("%s, %d: %d bytes, %v, %q", name, most, n, got.Quality, got.Why)
			}
			if name != "a long name" && n < most*3/4 {
				t.Errorf("%s, %d: only %d bytes", name, most, n)
			}
			for i, f := range got.Fields {
				if f.Name != fields[i].Name || f.Num != fields[i].Num || !strings.HasPrefix(fields[i].Text, f.Text) || !utf8.ValidString(f.Text) {
					t.Errorf("%s, %d: field %d is not the head's", name, most, i)
				}
			}
		}
	}
}

func TestDeadband(t *testing.T) {
	type in struct {
		after  time.Duration
		fields []record.Field
		bad    bool
		want   bool
	}
	tests := []struct {
		name      string
		deadband  float64
		heartbeat time.Duration
		readings  []in
	}{
		{"none", 0, 0, []in{{0, []record.Field{number("a", 1)}, false, true}, {1, []record.Field{number("a", 1)}, false, true}}},
		{"numbers", 0.5, 0, []in{
			{0, []record.Field{number("a", 1)}, false, true},
			{1, []record.Field{number("a", 1.5)}, false, false},
			{1, []record.Field{number("a", 0.5)}, false, false},
			{1, []record.Field{number("a", 1.51)}, false, true},
			{1, []record.Field{number("a", 1.1)}, false, false},
			{1, []record.Field{{Name: "a", Type: record.Int, Int: 1}}, false, true},
			{1, []record.Field{number("a", 1)}, false, false},
		}},
		{"text", 10, 0, []in{
			{0, []record.Field{text("a", "on")}, false, true},
			{1, []record.Field{text("a", "on")}, false, false},
			{1, []record.Field{text("a", "off")}, false, true},
			{1, []record.Field{number("a", 1)}, false, true},
			{1, []record.Field{number("b", 1)}, false, true},
			{1, []record.Field{number("b", 1), number("c", 1)}, false, true},
		}},
		{"heartbeat", 0, 10 * time.Second, []in{
			{0, []record.Field{number("a", 1)}, false, true},
			{9 * time.Second, []record.Field{number("a", 1)}, false, false},
			{time.Second, []record.Field{number("a", 1)}, false, true},
			{9 * time.Second, []record.Field{number("a", 2)}, false, true},
			{9 * time.Second, []record.Field{number("a", 2)}, false, false},
			{time.Second, []record.Field{number("a", 2)}, false, true},
		}},
		{"bad readings", 5, 0, []in{
			{0, []record.Field{number("a", 1)}, false, true},
			{1, []record.Field{number("a", 1)}, true, true},
			{1, []record.Field{number("a", 1)}, true, true},
			{1, []record.Field{number("a", 1)}, false, true},
			{1, []record.Field{number("a", 1)}, false, false},
		}},
	}
	for _, test := range tests {
		c := config.Source{Deadband: test.deadband, Heartbeat: test.heartbeat}
		var s stored
		at := int64(1)
		for i, in := range test.readings {
			at += max(in.after.Microseconds(), 1)
			r := record.Record{Time: record.Time{Mono: at}, Fields: in.fields}
			if in.bad {
				r.Quality = record.Bad
			}
			if got := s.changed(&c, &r); got != in.want {
				t.Errorf("%s, reading %d: stored is %v", test.name, i, got)
			}
		}
	}
}
