package uplink

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
	"edgeagg/journal"
)

func unpack(t *testing.T, p string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(p))
	if err != nil {
		t.Fatalf("%v: % x…", err, p[:min(len(p), 8)])
	}
	z.Multistream(false)
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(z); len(rest) != 0 {
		t.Error("something stands behind the gzip member")
	}
	return string(b)
}

// With compression `message` bounds what is sent, and messages are full.
func TestGzip(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	c := usual(b.url())
	c.Gzip, c.Message = true, 2000
	u := newRig(t, c).run().connected()
	u.write(3000)
	u.drain()
	card := u.card()
	until(t, "all messages", func() bool { return strings.Contains(last(t, r), card[len(card)-1]) })
	var got []string
	sent := r.on("edgeagg/d/history")
	for i, p := range sent {
		if !strings.HasPrefix(p, "\x1f\x8b") || len(p) > 2000 || len(p) < 1500 && i > 0 && i < len(sent)-1 {
			t.Errorf("message of %d bytes, begins % x", len(p), p[:2])
		}
		var m historyMessage
		if err := json.Unmarshal([]byte(unpack(t, p)), &m); err != nil {
			t.Fatal(err)
		}
		for _, raw := range m.Records {
			got = append(got, string(raw))
		}
	}
	if strings.Join(got, "\n") != strings.Join(card, "\n") {
		t.Errorf("%d records on the card, %d received, or not the same", len(card), len(got))
	}
}

func last(t *testing.T, r *receiver) string {
	t.Helper()
	if p := r.last("edgeagg/d/history"); p != "" {
		return unpack(t, p)
	}
	return ""
}

// Each format in its own words, on its own topic.
func TestFormats(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	at := time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC)
	tm := record.Time{Wall: at.UnixMicro(), Set: true}
	recs := []record.Record{
		{Kind: record.Reading, Time: tm, Source: "out", Fields: []record.Field{{Name: "t", Num: 21.5}, {Name: "ok", Type: record.Bool, Int: 1}}},
		{Kind: record.Reading, Time: tm, Source: "out", Quality: record.Bad, Why: "checksum", Fields: []record.Field{{Name: "text", Type: record.String, Text: `a"b`}}},
		{Kind: record.Gap, Time: tm, Source: "out", Reason: record.Overflow, Count: 17},
		{Kind: record.Event, Time: tm, Event: record.Start},
	}
	for format, want := range map[string]string{
		"influx": "out,device=d,journal=J t=21.5,ok=true,seq=1i 1795428000123456000\n" +
			"out,device=d,journal=J text=\"a\\\"b\",quality=\"bad\",why=\"checksum\",seq=2i 1795428000123456000\n" +
			"edgeagg_gap,device=d,journal=J,source=out reason=\"overflow\",count=17i,seq=3i 1795428000123456000\n" +
			"edgeagg_event,device=d,journal=J event=\"start\",seq=4i 1795428000123456000\n",
		"thingsboard": `[{"ts":1795428000123,"values":{"out.t":21.5,"out.ok":true,"out.seq":1}},` +
			`{"ts":1795428000123,"values":{"out.text":"a\"b","out.quality":"bad","out.why":"checksum","out.seq":2}},` +
			`{"ts":1795428000123,"values":{"out.edgeagg_gap":"overflow","out.edgeagg_gap_count":17,"out.seq":3}},` +
			`{"ts":1795428000123,"values":{"edgeagg_event":"start","seq":4}}]`,
		"json": `{"device":"d","journal":"J","records":[{"seq":1,"time":"2026-11-23T10:00:00.123456Z","source":"out","fields":{"t":21.5,"ok":true}},` +
			`{"seq":2,"time":"2026-11-23T10:00:00.123456Z","source":"out","quality":"bad","why":"checksum","fields":{"text":"a\"b"}},` +
			`{"seq":3,"time":"2026-11-23T10:00:00.123456Z","source":"out","gap":{"count":17,"reason":"overflow"}},` +
			`{"seq":4,"time":"2026-11-23T10:00:00.123456Z","event":"start"}]}`,
	} {
		c := usual(b.url())
		c.Format, c.HistoryTopic, c.ClientID = format, "other/"+format, format
		u := newRig(t, c)
		for i := range recs {
			u.put(record.Append(nil, &recs[i]))
		}
		u.run().connected()
		u.drain()
		until(t, format, func() bool { return r.last("other/"+format) != "" })
		if got := r.last("other/" + format); got != strings.ReplaceAll(want, "J", u.j.ID().String()) {
			t.Errorf("%s:\n got %s\nwant %s", format, got, want)
		}
	}
}

// usualReading is what a small weather station says: one of four sources, a
// second apart, values that move a little.
func usualReading(n int, rnd *rand.Rand) []byte {
	round := func(v, to float64) float64 { return math.Round(v/to) * to }
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second / 4).Add(time.Duration(rnd.IntN(20_000)) * time.Microsecond)
	r := record.Record{
		Kind: record.Reading, Source: []string{"outside", "inside", "cellar", "roof"}[n%4],
		Time: record.Time{Wall: at.UnixMicro(), Mono: int64(n), Set: true},
		Fields: []record.Field{
			{Name: "temperature", Num: round(21+math.Sin(float64(n)/500)+rnd.Float64()/20, 0.01)},
			{Name: "humidity", Num: round(48+5*math.Sin(float64(n)/900)+rnd.Float64()/10, 0.1)},
		},
	}
	return record.Append(nil, &r)
}

// overhead is what TCP and IP add to n bytes and their acknowledgement, IPv4
// with time stamps, segments of 1448 bytes, an ACK for each two.
func overhead(n int) int {
	segments := (n + 1447) / 1448
	return 52*segments + 52*((segments+1)/2)
}

// BenchmarkBytesPerRecord prints what a record costs on the wire at QoS 1,
// with TCP/IP headers and acknowledgements.
func BenchmarkBytesPerRecord(b *testing.B) {
	for _, format := range []string{"json", "influx", "thingsboard"} {
		for _, packed := range []bool{false, true} {
			for _, per := range []int{1, 10, 100, 1000} {
				b.Run(fmt.Sprintf("%s/gzip=%v/%d", format, packed, per), func(b *testing.B) {
					rnd := rand.New(rand.NewPCG(1, 2))
					bt := batch{e: newEncoder(&config.Uplink{Format: format, Gzip: packed})}
					bytes := 0
					for n := range b.N {
						bt.reset()
						for i := range per {
							e := journal.Entry{Seq: uint64(1e6 + n*per + i), Payload: usualReading(n*per+i, rnd), Device: "greenhouse-1"}
							if err := bt.add(&e); err != nil {
								b.Fatal(err)
							}
						}
						p, n := bt.message(math.MaxInt32, false)
						if n != per {
							b.Fatal(n)
						}
						size := len(p) + len("edgeagg/greenhouse-1/history") + 7
						bytes += size + overhead(size) + 4 + 52 // PUBACK in a segment of its own
					}
					b.ReportMetric(float64(bytes)/float64(b.N*per), "B/record")
				})
			}
		}
	}
}

// The same records make the same bytes.
func TestMessageIsDeterministic(t *testing.T) {
	c := &config.Uplink{Format: "json", Gzip: true}
	var first []byte
	for range 2 {
		rnd := rand.New(rand.NewPCG(1, 2))
		bt := batch{e: newEncoder(c)}
		for n := range 100 {
			if err := bt.add(&journal.Entry{Seq: uint64(n + 1), Payload: usualReading(n, rnd), Device: "d"}); err != nil {
				t.Fatal(err)
			}
		}
		p, _ := bt.message(1<<20, false)
		if first == nil {
			first = bytes.Clone(p)
		} else if !bytes.Equal(first, p) {
			t.Error("they differ")
		}
	}
	if mtime := first[4:8]; !bytes.Equal(mtime, make([]byte, 4)) { // RFC 1952, section 2.3.1
		t.Errorf("the head holds a time: % x", mtime)
	}
}

// Encoding costs no allocation a record, and memory does not grow.
func TestEncodingAllocatesNothing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, c := range []config.Uplink{{Format: "json"}, {Format: "influx", Gzip: true}, {Format: "thingsboard"}} {
		bt := batch{e: newEncoder(&c)}
		payloads := make([][]byte, 100)
		for n := range payloads {
			payloads[n] = usualReading(n, rnd)
		}
		once := func() {
			bt.reset()
			for n, p := range payloads {
				e := journal.Entry{Seq: uint64(n + 1), Payload: p, Device: "d"}
				if err := bt.add(&e); err != nil {
					t.Fatal(err)
				}
			}
			bt.message(1<<20, false)
		}
		once()
		if n := testing.AllocsPerRun(20, once); n != 0 {
			t.Errorf("%s: %v allocations for 100 records", c.Format, n)
		}
	}
}
