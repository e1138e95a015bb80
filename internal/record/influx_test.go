package record

import (
	"math"
	"testing"
	"time"
)

// The line protocol to the letter (docs.influxdata.com, line protocol
// reference, "Special characters" and "Naming restrictions").
func TestAppendInflux(t *testing.T) {
	at := Time{Wall: 1_700_000_000_123_456, Set: true}
	reading := func(change func(*Record)) Record {
		r := Record{Kind: Reading, Seq: 41, Time: at, Source: "outside", Fields: []Field{{Name: "v", Num: 21.5}}}
		change(&r)
		return r
	}
	fields := func(f ...Field) Record { return reading(func(r *Record) { r.Fields = f }) }
	const head, tail = "outside,device=d,journal=j ", "seq=41i 1700000000123456000\n"
	for _, x := range []struct {
		what string
		r    Record
		want string
	}{
		{"a float", fields(Field{Name: "temperature", Num: 21.53}), head + "temperature=21.53," + tail},
		{"whole numbers are floats", fields(Field{Name: "n", Type: Int, Int: -7}), head + "n=-7," + tail},
		{"small and big", fields(Field{Name: "a", Num: 1e-9}, Field{Name: "b", Num: 1e22}), head + "a=1e-09,b=1e+22," + tail},
		{"a boolean", fields(Field{Name: "ok", Type: Bool, Int: 1}, Field{Name: "no", Type: Bool}), head + "ok=true,no=false," + tail},
		{"what is not finite stays out", fields(Field{Name: "a", Num: math.NaN()}, Field{Name: "b", Num: math.Inf(1)}), head + tail},
		{"a string", fields(Field{Name: "s", Type: String, Text: `say "hi", a=b \ c`}), head + `s="say \"hi\", a=b \\ c",` + tail},
		{"an empty string", fields(Field{Name: "s", Type: String}), head + `s="",` + tail},
		{"a string of lines", fields(Field{Name: "s", Type: String, Text: "a\r\nb"}), head + `s="a  b",` + tail},
		{"a string that is not UTF-8", fields(Field{Name: "s", Type: String, Text: "a\xffb µ"}), head + "s=\"a\ufffdb µ\"," + tail},
		{"a field's name", fields(Field{Name: "a b,c=d\"e\\f\n"}), head + `a\ b\,c\=d"e\f\ =0,` + tail},
		{"a name that ends in a backslash", fields(Field{Name: `a\`}), head + `a\_=0,` + tail},
		{"no name", fields(Field{}), head + "value=0," + tail},
		{"names that are taken", fields(Field{Name: "seq"}, Field{Name: "time"}, Field{Name: "why"}), head + "seq_=0,time_=0,why_=0," + tail},
		{"a source's name", reading(func(r *Record) { r.Source = `a b,c=d\` }), `a\ b\,c=d\_,device=d,journal=j v=21.5,` + tail},
		{"a bad reading", reading(func(r *Record) { r.Quality, r.Why = Bad, "checksum" }), head + `v=21.5,quality="bad",why="checksum",` + tail},
		{"a clock that was not set", reading(func(r *Record) { r.Time.Set = false }), head + `v=21.5,clock="unset",` + tail},
		{"and was put right", reading(func(r *Record) { r.Time.Set, r.Corrected = false, true }), head + `v=21.5,clock="corrected",` + tail},
		{"a time before 1970", reading(func(r *Record) { r.Time.Wall = -5 }), head + "v=21.5,seq=41i -5000\n"},
		{"the beginning of time", reading(func(r *Record) { r.Time.Wall = 0 }), head + "v=21.5,seq=41i 0000\n"},
		{
			"a gap of a source",
			Record{Kind: Gap, Seq: 41, Time: at, Source: "scale", Reason: Overflow, Count: 17, From: Time{Wall: 5, Set: true}, To: Time{Wall: 6, Set: true}},
			`edgeagg_gap,device=d,journal=j,source=scale reason="overflow",count=17i,from=5000i,to=6000i,` + tail,
		},
		{
			"a gap over numbered records",
			Record{Kind: Gap, Seq: 41, Time: at, Reason: Damage, Count: -1, First: 3, Last: 9},
			`edgeagg_gap,device=d,journal=j reason="damage",count=-1i,first=3i,last=9i,` + tail,
		},
		{
			"an event",
			Record{Kind: Event, Seq: 41, Time: at, Event: ClockSet, Offset: 1500 * time.Millisecond, First: 3, Last: 9, Why: "ntp"},
			`edgeagg_event,device=d,journal=j event="clock",why="ntp",offset=1.5,first=3i,last=9i,` + tail,
		},
	} {
		if got := string(AppendInflux(nil, &x.r, "d", "j")); got != x.want {
			t.Errorf("%s:\n got %q\nwant %q", x.what, got, x.want)
		}
	}
	r := fields(Field{Name: "v"})
	if got, want := string(AppendInflux(nil, &r, "a b,c=d", "j")), `outside,device=a\ b\,c\=d,journal=j v=0,`+tail; got != want {
		t.Errorf("tags:\n got %q\nwant %q", got, want)
	}
	if got, want := string(AppendInflux(nil, &r, "", "j")), "outside,journal=j v=0,"+tail; got != want {
		t.Errorf("an empty tag:\n got %q\nwant %q", got, want)
	}
}

func TestAppendInfluxAllocatesNothing(t *testing.T) {
	r := Record{Kind: Reading, Seq: 41, Source: "out side", Fields: []Field{{Name: "a b", Num: 21.53}, {Name: "s", Type: String, Text: "x"}}}
	p := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() { p = AppendInflux(p[:0], &r, "d", "j") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
