package record

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func samples() []Record {
	at := Time{Wall: 1_800_000_000_000_000, Mono: 77, Set: true}
	return []Record{
		{Kind: Reading, Time: at, Source: "outside", Fields: []Field{{Name: "t", Num: -21.5}, {Name: "n", Type: Int, Int: -1}, {Name: "s", Type: String, Text: "é\x00\xff"}, {Name: "b", Type: Bool, Int: 1}}},
		{Kind: Reading, Time: Time{Wall: 3, Mono: 9}, Source: "scale", Quality: Bad, Why: "checksum", Fields: []Field{}},
		{Kind: Reading, Time: Time{Wall: math.MaxInt64, Mono: math.MaxInt64, Set: true}, Source: strings.Repeat("x", 300), Quality: Uncertain, Why: "start", Fields: []Field{{Name: "n", Type: Int, Int: math.MinInt64}}},
		{Kind: Gap, Time: at, Source: "scale", Count: -1, Reason: Power, First: 3, Last: math.MaxUint64, From: Time{Wall: 5}, To: at},
		{Kind: Gap, Time: at, Count: math.MaxInt64, Reason: "of a later version"},
		{Kind: Event, Time: at, Event: ClockSet, Offset: -5 * time.Hour, First: 1, Last: 2},
		{Kind: Event, Time: at, Source: "scale", Event: Lost, Why: "gone"},
		{Kind: Event, Event: Stop},
	}
}

func TestBinaryRoundTrip(t *testing.T) {
	var d Decoder
	var got Record
	for _, want := range samples() {
		p := Append([]byte("x"), &want)
		if p[0] != 'x' {
			t.Error("what stood before is gone")
		}
		if err := d.Decode(p[1:], &got); err != nil {
			t.Errorf("%+v: %v", want, err)
			continue
		}
		if len(got.Fields) == 0 && len(want.Fields) == 0 {
			got.Fields = want.Fields
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v became %+v", want, got)
		}
		got.Fields = got.Fields[:0]
	}
}

// Bytes that end too early, go on too long or have an unknown meaning are an
// error that says so; no prefix of a record is one.
func TestDecodeRefuses(t *testing.T) {
	var d Decoder
	var r Record
	for _, s := range samples() {
		p := Append(nil, &s)
		for n := range p {
			if err := d.Decode(p[:n], &r); err == nil {
				t.Errorf("%d of %d bytes of %+v were taken", n, len(p), s)
			}
		}
		if err := d.Decode(append(p, 0), &r); err == nil || !strings.Contains(err.Error(), "too many") {
			t.Errorf("a byte too many: %v", err)
		}
	}
	for _, p := range []string{"", "\x00\x00\x00\x00", "\x19\x00\x00\x00", "\x21\x00\x00\x00\x00", "\x01\x00\x00\x00\x01\x01a\x09", "\x01\x00\x00\x00\xff\xff\xff\xff\x0f", "\x01\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if err := d.Decode([]byte(p), &r); err == nil {
			t.Errorf("%q was taken: %+v", p, r)
		}
	}
}

// A value that is not finite does not get to the card.
func TestNotFinite(t *testing.T) {
	var d Decoder
	var got Record
	r := Record{Kind: Reading, Fields: []Field{{Name: "a", Num: math.NaN()}, {Name: "b", Num: 1}, {Name: "c", Num: math.Inf(1)}}}
	if err := d.Decode(Append(nil, &r), &got); err != nil || len(got.Fields) != 1 || got.Fields[0].Name != "b" {
		t.Errorf("%+v: %v", got, err)
	}
}

// A stream of readings costs nothing to encode, and nothing to decode once
// its names are known.
func TestNoGarbage(t *testing.T) {
	r := Record{Kind: Reading, Source: "outside", Fields: []Field{{Name: "t", Num: 1}, {Name: "n", Type: Int, Int: 7}, {Name: "b", Type: Bool}}}
	p := Append(nil, &r)
	line := AppendJSON(nil, &r)
	var d Decoder
	var got Record
	if n := testing.AllocsPerRun(100, func() {
		p = Append(p[:0], &r)
		line = AppendJSON(line[:0], &r)
		if err := d.Decode(p, &got); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A Decoder does not remember names without end.
func TestNamesAreBounded(t *testing.T) {
	var d Decoder
	var r Record
	for i := range 10 * maxNames {
		p := Append(nil, &Record{Kind: Reading, Source: strings.Repeat("n", i%7) + string(rune('a'+i%26)) + time.Duration(i).String()})
		if err := d.Decode(p, &r); err != nil {
			t.Fatal(err)
		}
		if len(d.names) > maxNames {
			t.Fatalf("%d names", len(d.names))
		}
	}
}

// Any bytes either are no record, or one that encodes and decodes to itself
// and has a JSON form.
func FuzzDecode(f *testing.F) {
	for _, r := range samples() {
		f.Add(Append(nil, &r))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var d Decoder
		var r, again Record
		if err := d.Decode(p, &r); err != nil {
			return
		}
		q := Append(nil, &r)
		if err := d.Decode(q, &again); err != nil {
			t.Fatalf("%x became %x: %v", p, q, err)
		}
		if !bytes.Equal(Append(nil, &again), q) {
			t.Fatalf("%x became %x", p, q)
		}
		if line := AppendJSON(nil, &r); !json.Valid(line) {
			t.Fatalf("%s", line)
		}
	})
}
