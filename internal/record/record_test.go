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

func at(s string) Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return Time{Wall: t.UnixMicro(), Mono: 5, Set: true}
}

var samples = []struct {
	r      Record
	json   string
	influx string
}{
	{
		Record{Kind: Reading, Seq: 41, Time: at("2026-11-23T10:00:00.123456Z"), Source: "outside", Fields: []Field{{Name: "temperature", Num: 21.53}, {Name: "humidity", Num: 48.2}}},
		`{"seq":41,"time":"2026-11-23T10:00:00.123456Z","source":"outside","fields":{"temperature":21.53,"humidity":48.2}}`,
		`outside,device=dev,journal=id temperature=21.53,humidity=48.2,seq=41i 1795428000123456000`,
	},
	{
		Record{Kind: Reading, Seq: 42, Time: at("2026-11-23T10:00:01Z"), Source: "scale", Quality: Bad, Why: "checksum", Fields: []Field{{Name: "text", Type: String, Text: "??"}}},
		`{"seq":42,"time":"2026-11-23T10:00:01.000000Z","source":"scale","quality":"bad","why":"checksum","fields":{"text":"??"}}`,
		`scale,device=dev,journal=id text="??",quality="bad",why="checksum",seq=42i 1795428001000000000`,
	},
	{
		Record{Kind: Gap, Seq: 43, Time: at("2026-11-23T10:00:02Z"), Source: "scale", Count: 17, Reason: Overflow, From: at("2026-11-23T10:00:00Z"), To: at("2026-11-23T10:00:01Z")},
		`{"seq":43,"time":"2026-11-23T10:00:02.000000Z","source":"scale","gap":{"count":17,"reason":"overflow","from":"2026-11-23T10:00:00.000000Z","to":"2026-11-23T10:00:01.000000Z"}}`,
		`edgeagg_gap,device=dev,journal=id,source=scale reason="overflow",count=17i,from=1795428000000000000i,to=1795428001000000000i,seq=43i 1795428002000000000`,
	},
	{
		Record{Kind: Event, Seq: 44, Time: at("2026-11-23T10:00:03Z"), Event: ClockSet, Offset: 1842233100 * time.Millisecond, First: 3, Last: 43},
		`{"seq":44,"time":"2026-11-23T10:00:03.000000Z","event":"clock","offset":"1842233.1s","first":3,"last":43}`,
		`edgeagg_event,device=dev,journal=id event="clock",offset=1842233.1,first=3i,last=43i,seq=44i 1795428003000000000`,
	},
	{
		Record{Kind: Gap, Seq: 1000045, Time: Time{Wall: 1000, Mono: 7}, Count: -1, Reason: Power, First: 45, Last: 1000044},
		`{"seq":1000045,"time":"1970-01-01T00:00:00.001000Z","clock":"unset","gap":{"count":-1,"reason":"power","first":45,"last":1000044}}`,
		`edgeagg_gap,device=dev,journal=id reason="power",count=-1i,first=45i,last=1000044i,clock="unset",seq=1000045i 1000000`,
	},
	{
		Record{Kind: Event, Seq: 46, Time: at("2026-11-23T10:00:04Z"), Source: "s", Event: Lost, Why: "read /dev/x: gone"},
		`{"seq":46,"time":"2026-11-23T10:00:04.000000Z","source":"s","event":"unplugged","why":"read /dev/x: gone"}`,
		`edgeagg_event,device=dev,journal=id,source=s event="unplugged",why="read /dev/x: gone",seq=46i 1795428004000000000`,
	},
	{
		Record{Kind: Reading, Seq: 47, Time: at("2026-11-23T10:00:05Z"), Source: "a b,c=d", Quality: Uncertain, Why: "start", Fields: []Field{
			{Name: "k=, x", Num: 1e-9}, {Name: "n", Type: Int, Int: -9007199254740993}, {Name: "b", Type: Bool, Int: 1}, {Name: "t", Type: String, Text: "q\"\\\n\x01é"},
		}},
		`{"seq":47,"time":"2026-11-23T10:00:05.000000Z","source":"a b,c=d","quality":"uncertain","why":"start","fields":{"k=, x":1e-09,"n":-9007199254740993,"b":true,"t":"q\"\\\n\u0001é"}}`,
		`a\ b\,c=d,device=dev,journal=id k\=\,\ x=1e-09,n=-9007199254740993,b=true,t="q\"\\` + "\n\x01é" + `",quality="uncertain",why="start",seq=47i 1795428005000000000`,
	},
}

func TestForms(t *testing.T) {
	var d Decoder
	for _, s := range samples {
		if got := string(AppendJSON(nil, &s.r)); got != s.json {
			t.Errorf("JSON\n%s, expected\n%s", got, s.json)
		}
		if !json.Valid([]byte(s.json)) {
			t.Errorf("not JSON: %s", s.json)
		}
		if got := strings.TrimSuffix(string(AppendInflux(nil, &s.r, "dev", "id")), "\n"); got != s.influx {
			t.Errorf("line protocol\n%s, expected\n%s", got, s.influx)
		}
		var back Record
		if err := d.Decode(Append(nil, &s.r), &back); err != nil {
			t.Fatal(err)
		}
		back.Seq = s.r.Seq
		if len(back.Fields) == 0 {
			back.Fields = nil
		}
		if !reflect.DeepEqual(back, s.r) {
			t.Errorf("decoded\n%+v, expected\n%+v", back, s.r)
		}
	}
}

// NaN and infinity never leave; bytes that are not UTF-8 neither.
func TestWhatNeverLeaves(t *testing.T) {
	r := Record{Kind: Reading, Time: Time{Set: true}, Source: "a\xffb", Fields: []Field{{Name: "x", Num: math.NaN()}, {Name: "y", Num: math.Inf(-1)}, {Name: "z", Num: 1}}}
	if got, want := string(AppendJSON(nil, &r)), `{"time":"1970-01-01T00:00:00.000000Z","source":"a`+"\ufffd"+`b","fields":{"z":1}}`; got != want {
		t.Errorf("%s, expected %s", got, want)
	}
	var d Decoder
	var back Record
	if err := d.Decode(Append(nil, &r), &back); err != nil || len(back.Fields) != 1 {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestCorrect(t *testing.T) {
	r := Record{Kind: Gap, Time: Time{Wall: 10, Mono: 5}, From: Time{Wall: 7, Mono: 2}, To: Time{Wall: 100, Mono: 4, Set: true}}
	r.Correct(0)
	if r.Corrected || r.Time.Wall != 10 {
		t.Errorf("without a base: %+v", r)
	}
	r.Correct(1000)
	if !r.Corrected || r.Time.Wall != 1005 || r.From.Wall != 1002 || r.To.Wall != 100 {
		t.Errorf("%+v", r)
	}
	if got := string(AppendJSON(nil, &r)); !strings.Contains(got, `"clock":"corrected"`) {
		t.Error(got)
	}
}

// A stream of readings costs no allocation for its names.
func TestDecodeAllocatesNothing(t *testing.T) {
	p := Append(nil, &samples[0].r)
	var d Decoder
	var r Record
	if n := testing.AllocsPerRun(100, func() {
		if err := d.Decode(p, &r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(Append(nil, &s.r))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var d Decoder
		var r Record
		if d.Decode(p, &r) != nil {
			return
		}
		j := AppendJSON(nil, &r)
		if !json.Valid(j) {
			t.Fatalf("not JSON: %s", j)
		}
		AppendInflux(nil, &r, "d", "j")
		again := Append(nil, &r)
		var back Record
		if err := d.Decode(again, &back); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(Append(nil, &back), again) {
			t.Fatalf("%x decodes to %+v", again, back)
		}
	})
}
