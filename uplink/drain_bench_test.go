package uplink

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgeagg/internal/config"
)

// BenchmarkDrain drains a backlog of 100 000 records into mosquitto, and sends
// the same messages with a bare loop over the same client, 64 in flight. The
// share is the first one's records/s of the second one's.
func BenchmarkDrain(b *testing.B) {
	const records = 100_000
	for _, gzip := range []bool{false, true} {
		name := "json"
		if gzip {
			name = "json+gzip"
		}
		b.Run(name, func(b *testing.B) {
			br := newBroker(b)
			log := slog.New(slog.NewTextHandler(io.Discard, nil))
			var ours, bare time.Duration
			for range b.N {
				j := openJournal(b, b.TempDir(), "d", "m1", log)
				rnd := rand.New(rand.NewPCG(1, 2))
				batch := make([][]byte, 1000)
				for n := 0; n < records; n += len(batch) {
					for i := range batch {
						batch[i] = usualReading(n+i, rnd)
					}
					if _, err := j.Write(batch); err != nil {
						b.Fatal(err)
					}
				}
				if err := j.Sync(); err != nil {
					b.Fatal(err)
				}
				c := usual(br.url())
				c.Gzip = gzip
				u, err := New(Options{Config: c, Device: "d", Journal: j, Now: now, Log: log, Status: func(p []byte) []byte { return append(p, "{}"...) }})
				if err != nil {
					b.Fatal(err)
				}
				var running sync.WaitGroup
				ctx, cancel := context.WithCancel(b.Context())
				running.Go(func() { u.Run(ctx) })
				for !u.Stats().Connected {
				}
				begin := time.Now()
				u.Drain(b.Context())
				ours += time.Since(begin)
				if j.Acked() != j.Synced() {
					b.Fatalf("cursor at %d of %d", j.Acked(), j.Synced())
				}
				cancel()
				running.Wait()
				bare += bareLoop(b, br, messagesOf(b, u, c))
				if err := j.Close(); err != nil {
					b.Fatal(err)
				}
			}
			n := float64(b.N * records)
			b.ReportMetric(n/ours.Seconds(), "records/s")
			b.ReportMetric(n/bare.Seconds(), "bare-records/s")
			b.ReportMetric(100*bare.Seconds()/ours.Seconds(), "%")
		})
	}
}

// messagesOf is what a window sends.
func messagesOf(b *testing.B, u *Uplink, c config.Uplink) (all [][]byte) {
	b.Helper()
	r := u.o.Journal.Reader(1, nil)
	defer r.Close()
	bt := batch{e: newEncoder(&c)}
	flush := func() {
		p, n := bt.message(c.Message, false)
		all = append(all, append([]byte(nil), p...))
		bt.drop(n)
	}
	for {
		e, err := r.Next()
		if err != nil {
			break
		}
		if err := bt.add(&e); err != nil {
			b.Fatal(err)
		}
		if len(bt.p) >= max(bt.want(c.Message), c.Message) {
			flush()
		}
	}
	for len(bt.ends) > 0 {
		flush()
	}
	return all
}

func bareLoop(b *testing.B, br *broker, messages [][]byte) time.Duration {
	b.Helper()
	o := mqtt.NewClientOptions().AddBroker("tcp://" + br.addr()).SetClientID("bare").SetAutoReconnect(false).SetProtocolVersion(4).SetStore(noStore{}).SetOrderMatters(false)
	o.SetWriteTimeout(writeTimeout)
	c := mqtt.NewClient(o)
	if t := c.Connect(); t.Wait() && t.Error() != nil {
		b.Fatal(t.Error())
	}
	defer c.Disconnect(0)
	begin := time.Now()
	tokens := make([]mqtt.Token, 0, len(messages))
	for i, p := range messages {
		if i >= 64 {
			tokens[i-64].Wait()
		}
		tokens = append(tokens, c.Publish("edgeagg/d/history", 1, false, p))
	}
	for _, t := range tokens[max(0, len(tokens)-64):] {
		if t.Wait() && t.Error() != nil {
			b.Fatal(t.Error())
		}
	}
	return time.Since(begin)
}

// BenchmarkLiveBesideBacklog drains a backlog over a line of 6 kB/s while a
// source has a reading each quarter of a second, for 40 s, and prints how late
// its live values are received.
func BenchmarkLiveBesideBacklog(b *testing.B) {
	br := newBroker(b)
	k := newLink(b, br.addr())
	r := receive(b, br.addr())
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	j := openJournal(b, b.TempDir(), "d", "m1", log)
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 20_000 {
		if _, err := j.Write([][]byte{usualReading(n, rnd)}); err != nil {
			b.Fatal(err)
		}
	}
	if err := j.Sync(); err != nil {
		b.Fatal(err)
	}
	k.rate.Store(6000)
	s := &source{name: "s", meta: "{}"}
	u, err := New(Options{Config: usual(k.url()), Device: "d", Journal: j, Now: now, Log: log, Sources: []Source{s}, Status: func(p []byte) []byte { return append(p, "{}"...) }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { u.Run(ctx) })
	for !u.Stats().Connected {
		time.Sleep(time.Millisecond)
	}
	running.Go(func() { u.Drain(ctx) })
	var late []time.Duration
	sent, seen := map[int]time.Time{}, 0
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	begin, n, acked := time.Now(), 0, uint64(0)
	for range b.N {
		for now := range tick.C {
			if at := now.Sub(begin); at > 40*time.Second {
				break
			} else if at > time.Duration(n)*250*time.Millisecond {
				n++
				sent[n] = now
				s.set(reading("s", n))
			}
			for _, raw := range r.on("edgeagg/d/live/s")[seen:] {
				seen++
				var x struct{ Fields struct{ N int } }
				if err := json.Unmarshal([]byte(raw), &x); err != nil {
					b.Fatal(err)
				}
				late = append(late, now.Sub(sent[x.Fields.N]))
			}
		}
	}
	acked = u.Stats().Bytes
	cancel()
	running.Wait()
	slices.Sort(late)
	b.ReportMetric(late[len(late)/2].Seconds(), "s-p50")
	b.ReportMetric(late[len(late)*99/100].Seconds(), "s-p99")
	b.ReportMetric(100*float64(acked)/6000/40, "%-line-used")
	b.ReportMetric(float64(len(late)), "live-values")
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}
