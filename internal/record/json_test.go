package record

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func micros(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.UnixMicro()
}

func set(s string) Time { return Time{Wall: micros(s), Mono: 1, Set: true} }

// The JSON form, letter by letter.
func TestJSON(t *testing.T) {
	at := set("2026-11-23T10:00:00.123456Z")
	for _, c := range []struct {
		what string
		r    Record
		want string
	}{
		{
			"a reading", Record{Kind: Reading, Seq: 41, Time: at, Source: "outside", Fields: []Field{{Name: "temperature", Num: 21.53}, {Name: "humidity", Num: 48.2}}},
			`{"seq":41,"time":"2026-11-23T10:00:00.123456Z","source":"outside","fields":{"temperature":21.53,"humidity":48.2}}`,
		},
		{
			"a bad reading", Record{Kind: Reading, Seq: 42, Time: at, Source: "scale", Quality: Bad, Why: "checksum", Fields: []Field{{Name: "text", Type: String, Text: "??"}}},
			`{"seq":42,"time":"2026-11-23T10:00:00.123456Z","source":"scale","quality":"bad","why":"checksum","fields":{"text":"??"}}`,
		},
		{
			"a gap", Record{Kind: Gap, Seq: 43, Time: at, Source: "scale", Count: 17, Reason: Overflow, From: set("2026-11-23T09:00:00Z"), To: set("2026-11-23T09:00:01.5Z")},
			`{"seq":43,"time":"2026-11-23T10:00:00.123456Z","source":"scale","gap":{"count":17,"reason":"overflow","from":"2026-11-23T09:00:00.000000Z","to":"2026-11-23T09:00:01.500000Z"}}`,
		},
		{
			"the clock was set", Record{Kind: Event, Seq: 44, Time: at, Event: ClockSet, Offset: 1842233*time.Second + 100*time.Millisecond, First: 3, Last: 43},
			`{"seq":44,"time":"2026-11-23T10:00:00.123456Z","event":"clock","offset":"1842233.1s","first":3,"last":43}`,
		},
		{
			"a gap over numbers", Record{Kind: Gap, Seq: 9, Time: at, Count: -1, Reason: Power, First: 3, Last: 8},
			`{"seq":9,"time":"2026-11-23T10:00:00.123456Z","gap":{"count":-1,"reason":"power","first":3,"last":8}}`,
		},
		{
			"damage that no gap names yet", Record{Kind: Gap, Time: at, Count: 2, Reason: Damage, First: 3, Last: 4},
			`{"time":"2026-11-23T10:00:00.123456Z","gap":{"count":2,"reason":"damage","first":3,"last":4}}`,
		},
		{
			"the clock was never set", Record{Kind: Event, Seq: 1, Time: Time{Wall: 1}, Event: Start},
			`{"seq":1,"time":"1970-01-01T00:00:00.000001Z","clock":"unset","event":"start"}`,
		},
		{
			"the clock was set later", Record{Kind: Event, Seq: 1, Time: Time{Wall: 1, Mono: 1}, Corrected: true, Event: Lost, Source: "scale", Why: "gone"},
			`{"seq":1,"time":"1970-01-01T00:00:00.000001Z","clock":"corrected","source":"scale","event":"unplugged","why":"gone"}`,
		},
		{
			"values of each type", Record{Kind: Reading, Seq: 1, Time: at, Source: "s", Quality: Uncertain, Why: "start", Fields: []Field{
				{Name: "i", Type: Int, Int: math.MinInt64}, {Name: "b", Type: Bool, Int: 1}, {Name: "c", Type: Bool}, {Name: "whole", Num: 1e6}, {Name: "tiny", Num: 1e-9}, {Name: "huge", Num: -1e300}, {Name: "zero", Num: math.Copysign(0, -1)},
			}},
			`{"seq":1,"time":"2026-11-23T10:00:00.123456Z","source":"s","quality":"uncertain","why":"start","fields":{"i":-9223372036854775808,"b":true,"c":false,"whole":1000000,"tiny":1e-09,"huge":-1e+300,"zero":-0}}`,
		},
		{
			"values that are not finite are left out", Record{Kind: Reading, Seq: 1, Time: at, Source: "s", Quality: Bad, Why: "not a number", Fields: []Field{{Name: "a", Num: math.NaN()}, {Name: "b", Num: math.Inf(-1)}, {Name: "c", Num: 1}, {Name: "d", Num: math.Inf(1)}}},
			`{"seq":1,"time":"2026-11-23T10:00:00.123456Z","source":"s","quality":"bad","why":"not a number","fields":{"c":1}}`,
		},
		{
			"no fields", Record{Kind: Reading, Seq: 1, Time: at, Source: "s"},
			`{"seq":1,"time":"2026-11-23T10:00:00.123456Z","source":"s","fields":{}}`,
		},
		{
			"strings", Record{Kind: Reading, Seq: 1, Time: at, Source: "a\"b\\c", Fields: []Field{{Name: "é\n", Type: String, Text: "\x00\t\r\x1f\x7f <>&\u2028"}}},
			`{"seq":1,"time":"2026-11-23T10:00:00.123456Z","source":"a\"b\\c","fields":{"é\n":"\u0000\t\r\u001f\u007f <>&` + "\u2028" + `"}}`,
		},
		{
			"bytes that are not UTF-8", Record{Kind: Reading, Seq: 1, Time: at, Source: "s", Fields: []Field{{Name: "t", Type: String, Text: "a\xffb\xc3"}}},
			`{"seq":1,"time":"2026-11-23T10:00:00.123456Z","source":"s","fields":{"t":"a` + "\ufffdb\ufffd" + `"}}`,
		},
		{
			"a time beyond RFC 3339", Record{Kind: Event, Seq: 1, Time: Time{Wall: math.MaxInt64, Set: true}, Event: Stop},
			`{"seq":1,"time":"9999-12-31T23:59:59.999999Z","event":"stop"}`,
		},
		{
			"a time before RFC 3339", Record{Kind: Event, Seq: 1, Time: Time{Wall: math.MinInt64, Set: true}, Event: Stop},
			`{"seq":1,"time":"0000-01-01T00:00:00.000000Z","event":"stop"}`,
		},
	} {
		got := AppendJSON([]byte("before "), &c.r)
		if string(got) != "before "+c.want {
			t.Errorf("%s:\n%s\nexpected\n%s", c.what, got[7:], c.want)
		}
		if !json.Valid(got[7:]) {
			t.Errorf("%s: not JSON: %s", c.what, got[7:])
		}
	}
}

// What encoding/json reads from the JSON form is what went in.
func FuzzJSON(f *testing.F) {
	f.Add("a", 1.5, int64(-3))
	f.Add("\x00\xff\"\\\u2028", math.Inf(1), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, text string, num float64, n int64) {
		r := Record{
			Kind: Reading, Seq: uint64(n), Time: Time{Wall: n, Set: true}, Source: "s", Quality: Uncertain, Why: text,
			Fields: []Field{{Name: "num", Num: num}, {Name: "n", Type: Int, Int: n}, {Name: "text", Type: String, Text: text}},
		}
		p := AppendJSON(nil, &r)
		var got struct {
			Seq    uint64
			Time   time.Time
			Why    string
			Fields map[string]any
		}
		d := json.NewDecoder(bytes.NewReader(p))
		d.UseNumber()
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		want := strings.ToValidUTF8(text, "") // each bad byte becomes a character of its own
		if got.Seq != r.Seq || strings.ReplaceAll(got.Why, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
			t.Errorf("%q: %s", text, p)
		}
		v, there := got.Fields["num"].(json.Number)
		if there != r.Fields[0].Finite() {
			t.Errorf("%v: %s", num, p)
		}
		if there {
			if back, err := v.Float64(); err != nil || back != num {
				t.Errorf("%v became %v: %v", num, back, err)
			}
		}
	})
}

func TestCorrect(t *testing.T) {
	const base = int64(1_800_000_000_000_000)
	early := Time{Wall: 5, Mono: 700}
	for _, c := range []struct {
		what      string
		r         Record
		base      int64
		wall      int64
		corrected bool
	}{
		{"taken before the clock was set", Record{Time: early}, base, base + 700, true},
		{"taken after", Record{Time: Time{Wall: 9, Mono: 700, Set: true}}, base, 9, false},
		{"the clock was never set", Record{Time: early}, 0, 5, false},
		{"of an unknown time since boot", Record{Time: Time{Wall: 5}}, base, 5, false},
	} {
		c.r.Correct(c.base)
		if c.r.Time.Wall != c.wall || c.r.Corrected != c.corrected {
			t.Errorf("%s: %+v", c.what, c.r)
		}
	}
	g := Record{Kind: Gap, Time: Time{Wall: 1, Set: true}, From: early, To: Time{Wall: 9, Mono: 800, Set: true}}
	g.Correct(base)
	if g.From.Wall != base+700 || g.To.Wall != 9 || g.Corrected {
		t.Errorf("a gap: %+v", g)
	}
	g = Record{Kind: Gap, Time: Time{Wall: 1, Set: true}, To: Time{Wall: 9, Mono: 0}}
	g.Correct(base)
	if g.From.Wall != 0 || g.To.Wall != 9 {
		t.Errorf("an unknown from and a to of another boot: %+v", g)
	}
}
