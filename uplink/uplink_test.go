package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// What is on the card is received, to the byte of the contract; beside it
// availability, status, meta and live.
func TestTopics(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	s := &source{name: "outside", meta: `{"kind":"simulate","fields":[{"name":"n","unit":"V"}]}`}
	u := newRig(t, usual(b.url()), func(o *Options) { o.Sources = []Source{s} }).run().connected()
	u.write(500)
	u.drain()
	r.same(u.card())
	for _, m := range r.history() {
		if m.Device != "d" || m.Journal != u.j.ID().String() || m.Resend {
			t.Fatalf("head of a message: %+v", m)
		}
	}
	first := r.on("edgeagg/d/history")[0]
	if want := `{"device":"d","journal":"` + u.j.ID().String() + `","records":[` + u.card()[0]; !strings.HasPrefix(first, want) || !strings.HasSuffix(first, "}]}") {
		t.Errorf("message %s\nwant %s…", first, want)
	}
	longest := 0
	for _, m := range r.on("edgeagg/d/history") {
		longest = max(longest, len(m))
	}
	if longest > 8<<10 || longest < 7<<10 {
		t.Errorf("the longest message has %d bytes: not full, or over 8 KiB", longest)
	}
	s.set(reading("outside", 7))
	until(t, "a live value", func() bool { return len(r.on("edgeagg/d/live/outside")) == 1 })
	if got := r.last("edgeagg/d/live/outside"); strings.Contains(got, "seq") || number(t, got) != 7 {
		t.Errorf("live: %s", got)
	}
	until(t, "status", func() bool { return r.last("edgeagg/d/status") == u.status })
	if got := r.last("edgeagg/d/meta/outside"); got != s.meta {
		t.Errorf("meta: %s", got)
	}
	if got := r.last("edgeagg/d/availability"); got != "online" {
		t.Errorf("availability: %s", got)
	}
	st := u.Stats()
	if st.Backlog != 0 || st.Acked != 500 || st.Records != 500 || st.Oldest != nil || st.BytesToday < int64(st.Bytes) {
		t.Errorf("stats: %+v", st)
	}
	// All but history stays for those who come later.
	late := receive(t, b.addr())
	until(t, "retained messages", func() bool { return len(late.messages()) >= 4 })
	for _, m := range late.messages() {
		if !m.retained {
			t.Errorf("%s was not retained", m.topic)
		}
	}
	u.stop()
	until(t, "stopped", func() bool { return r.last("edgeagg/d/availability") == "stopped" })
}

// A broker that stops and starts costs nothing but the wait.
func TestBrokerStopsAndStarts(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	u := newRig(t, usual(b.url())).run().connected()
	for range 3 {
		u.write(1000)
		u.drain()
		b.stop()
		until(t, "the loss is noticed", func() bool { return !u.Stats().Connected })
		u.write(1000)
		u.Drain(t.Context())
		st := u.Stats()
		if st.Backlog != 1000 || st.Oldest == nil || st.Error == "" {
			t.Errorf("stats while down: %+v", st)
		}
		b.start()
		// The window that found no connection opens with it.
		until(t, "the due window", func() bool { return u.j.Acked() == u.j.Synced() })
	}
	r.same(u.card()) // the broker may send something twice itself after a start
	if sent := u.Stats().Records; sent != 6000 {
		t.Errorf("%d records were sent for 6000, though nothing was in flight in a loss", sent)
	}
}

// Links that break inside of messages: everything once per key and in order,
// twice at most what was in flight.
func TestLinkBreaksInsideMessages(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	k := newLink(t, b.addr())
	u := newRig(t, usual(k.url())).run().connected()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	passed := int64(0) // bytes over connections that were cut
	for range 12 {
		u.write(1000)
		n := rnd.Int64N(60_000) + 1
		k.cutAfter.Store(n)
		passed += n
		u.drain()
	}
	card := u.card()
	doubled := r.same(card)
	t.Logf("%d records, %d twice, %d connections", len(card), doubled, k.accepted.Load())
	shortest := len(card[0])
	for _, rec := range card {
		shortest = min(shortest, len(rec))
	}
	if most := int(passed) / shortest; doubled > most { // no more than a cut connection brought
		t.Errorf("%d records twice, %d may be", doubled, most)
	}
	if k.accepted.Load() < 3 {
		t.Error("the link did not break")
	}
	if len(u.refused) != 0 {
		t.Errorf("put aside: %v", u.refused)
	}
}

// Acknowledgements that are lost on a link that lives are missed after a
// while, counted from the last one.
func TestAcknowledgementsSwallowed(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	k := newLink(t, b.addr())
	u := newRig(t, usual(k.url()))
	u.ackTimeout = 200 * time.Millisecond
	u.run().connected()
	u.write(100)
	u.drain()
	k.swallow.Store(true)
	u.write(100)
	u.Drain(t.Context())
	if u.j.Acked() != 100 {
		t.Errorf("cursor at %d, though nothing was acknowledged", u.j.Acked())
	}
	until(t, "the reason", func() bool {
		return strings.Contains(u.Stats().Error, errNoAck.Error()) || strings.Contains(u.Stats().Error, "login")
	})
	k.swallow.Store(false)
	k.cut()
	until(t, "the window goes on", func() bool { return u.j.Acked() == 200 })
	if doubled := r.same(u.card()); doubled == 0 {
		t.Error("nothing twice: were the messages sent at all?")
	}
}

// A stop breaks a line that takes nothing more, while a window, status and
// live values press on it.
func TestStopOnStuckLine(t *testing.T) {
	b := newBroker(t)
	k := newLink(t, b.addr())
	s := &source{name: "s", meta: "{}"}
	c := usual(k.url())
	c.Live, c.Status, c.Message = time.Millisecond, time.Millisecond, 1<<20
	u := newRig(t, c, func(o *Options) { o.Sources = []Source{s} }).run().connected()
	u.write(1)
	u.drain()
	k.stuck.Store(true)
	u.write(40_000)
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		u.Drain(ctx)
	}()
	c0, _ := u.current()
	until(t, "everything is full", func() bool {
		s.set(reading("s", 1))
		return len(c0.urgent) == cap(c0.urgent)
	})
	begin := time.Now()
	cancel()
	<-drained
	u.stop()
	if took := time.Since(begin); took > writeTimeout/2 {
		t.Errorf("took %v", took)
	}
}

// A link that takes everything and gives nothing back is left, with nothing to
// say on it but pings; a quiet one is not.
func TestHalfOpenLink(t *testing.T) {
	b := newBroker(t)
	k := newLink(t, b.addr())
	c := usual(k.url())
	c.Keepalive, c.Live = 3*time.Second, 0
	u := newRig(t, c).run().connected()
	u.write(1)
	u.drain()
	before := k.answered.Load()
	until(t, "the answers to two pings", func() bool { return k.answered.Load() >= before+2 })
	if n := u.Stats().Connects; n != 1 {
		t.Errorf("%d connections over a quiet link", n)
	}
	k.blackhole.Store(true)
	until(t, "the error", func() bool { return strings.Contains(u.Stats().Error, errSilent.Error()) })
}

// Without a goodbye the broker says offline.
func TestLastWill(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	k := newLink(t, b.addr())
	u := newRig(t, usual(k.url())).run().connected()
	until(t, "online", func() bool { return r.last("edgeagg/d/availability") == "online" })
	k.down.Store(true)
	k.cut()
	until(t, "offline", func() bool { return r.last("edgeagg/d/availability") == "offline" })
	k.down.Store(false)
	until(t, "online again", func() bool { return r.last("edgeagg/d/availability") == "online" })
	u.stop()
	r.publish("behind", "all", false)
	until(t, "what was said before", func() bool { return r.last("behind") != "" })
	if got := r.on("edgeagg/d/availability"); !slices.Equal(got, []string{"online", "offline", "online", "stopped"}) {
		t.Errorf("availability: %v", got)
	}
}

// A refused login is said once, tried with patience, and forgotten when the
// password file is right.
func TestLoginRefused(t *testing.T) {
	b := newBroker(t, "allow_anonymous false", "password_file "+passwords(t))
	r := receive(t, b.addr(), "board", "right")
	k := newLink(t, b.addr())
	c := usual(k.url())
	c.Username, c.PasswordFile = "board", b.write("password", "wrong\n")
	u := newRig(t, c).run()
	until(t, "a few tries", func() bool { return k.accepted.Load() > 3 })
	if st := u.Stats(); st.Connected || !strings.Contains(strings.ToLower(st.Error), "not authorized") {
		t.Errorf("stats: %+v", st)
	}
	if !strings.Contains(u.Stats().Error, "uplink.password_file") {
		t.Errorf("no cure: %s", u.Stats().Error)
	}
	if n := u.logged.count("not connected"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	u.write(10)
	u.Drain(t.Context())
	b.write("password", "right\r\n")
	until(t, "the due window", func() bool { return u.j.Acked() == 10 })
	r.same(u.card())
}

// passwords is a mosquitto password file with board:right.
func passwords(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/passwords"
	// mosquitto_passwd -c -b, PBKDF2 with 101 rounds
	if err := os.WriteFile(path, []byte(hashed), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The next broker of the list takes over at once.
func TestBrokersInTurn(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	u := newRig(t, usual("mqtt://127.0.0.1:1", "mqtt://no.such.host.invalid:1883", b.url()))
	u.write(10)
	u.Drain(t.Context())
	u.run()
	until(t, "the due window", func() bool { return u.j.Acked() == 10 })
	r.same(u.card())
	if got := u.Stats().Broker; got != b.addr() {
		t.Errorf("broker %s", got)
	}
}

// Over a web socket it is the same.
func TestWebSocket(t *testing.T) {
	port := freePort(t)
	b := newBroker(t, "allow_anonymous true", fmt.Sprintf("listener %d 127.0.0.1", port), "protocol websockets")
	r := receive(t, b.addr())
	u := newRig(t, usual(fmt.Sprintf("ws://127.0.0.1:%d", port))).run().connected()
	u.write(1000)
	u.drain()
	r.same(u.card())
	if st := u.Stats(); st.BytesToday < int64(st.Bytes) {
		t.Errorf("stats: %+v", st)
	}
	u.stop()
	until(t, "stopped", func() bool { return r.last("edgeagg/d/availability") == "stopped" })
}

// The backlog of a card that gives nothing back waits; the connection stays.
func TestCardUnreadable(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	u := newRig(t, usual(b.url()))
	u.write(100)
	names, err := filepath.Glob(filepath.Join(u.dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	away := filepath.Join(t.TempDir(), "away")
	segment := ""
	for _, name := range names {
		if st, err := os.Stat(name); err == nil && st.Size() > 64<<10 {
			segment = name
		}
	}
	// A link to itself cannot be opened (ELOOP), by root neither.
	if err := errors.Join(os.Rename(segment, away), os.Symlink(segment, segment)); err != nil {
		t.Fatal(err)
	}
	u.run().connected()
	for range 3 {
		u.Drain(t.Context())
	}
	if st := u.Stats(); !st.Connected || st.Connects != 1 || u.j.Acked() != 0 {
		t.Errorf("stats: %+v", st)
	}
	if n := u.logged.count("cannot be read"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	if err := errors.Join(os.Remove(segment), os.Rename(away, segment)); err != nil {
		t.Fatal(err)
	}
	u.drain()
	r.same(u.card())
}

// What New cannot do it refuses.
func TestNew(t *testing.T) {
	for want, change := range map[string]func(*config.Uplink){
		"no broker":     func(c *config.Uplink) { c.Brokers = nil },
		"uplink.format": func(c *config.Uplink) { c.Format = "xml" },
		"max_bytes_day": func(c *config.Uplink) { c.MaxBytesDay = 100 },
	} {
		c := usual("mqtt://127.0.0.1:1")
		change(&c)
		if _, err := New(Options{Config: c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

// A broker that takes small packets only gets small messages, and is not asked
// again and again; a record that does not fit is put aside with its number.
func TestPacketLimit(t *testing.T) {
	b := newBroker(t, "allow_anonymous true", "max_packet_size 1000")
	r := receive(t, b.addr())
	k := newLink(t, b.addr())
	u := newRig(t, usual(k.url())).run().connected()
	u.write(300)
	u.put(reading("long", 301, record.Field{Name: "text", Type: record.String, Text: strings.Repeat("x", 3000)}))
	u.n++
	u.write(300)
	u.drain()
	if len(u.refused) != 1 || u.refused[0] != [2]uint64{301, 301} {
		t.Fatalf("put aside: %v", u.refused)
	}
	tries := k.accepted.Load()
	u.write(2000)
	u.drain()
	if more := k.accepted.Load() - tries; more > 1 {
		t.Errorf("%d connections for what is known to be too big", more)
	}
	t.Logf("%d connections", k.accepted.Load())
	r.same(slices.Delete(u.card(), 300, 301))
}

// A record that ends the connection is found by sending it alone, three times.
func TestPoisonousRecord(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	k := newLink(t, b.addr())
	poison := []byte("poison")
	k.poison.Store(&poison)
	u := newRig(t, usual(k.url())).run().connected()
	u.write(130)
	u.put(reading("s", 131, record.Field{Name: "text", Type: record.String, Text: "poison"}))
	u.n++
	u.write(300)
	u.drain()
	if len(u.refused) != 1 || u.refused[0] != [2]uint64{131, 131} {
		t.Fatalf("put aside: %v", u.refused)
	}
	if n := k.accepted.Load(); n > 12 {
		t.Errorf("%d connections", n)
	}
	u.write(1000)
	u.drain()
	r.same(slices.Delete(u.card(), 130, 131))
	if m := r.on("edgeagg/d/history"); len(m[len(m)-2]) < 4<<10 {
		t.Errorf("messages stayed at %d bytes", len(m[len(m)-2]))
	}
}

// A window sends what was synced when it opened, no more than max_bytes.
func TestWindowIsBounded(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	c := usual(b.url())
	c.MaxBytes = 5000
	c.Message = 2000
	u := newRig(t, c).run().connected()
	u.write(300)
	all := len(strings.Join(u.card(), ","))
	windows := 0
	for u.j.Acked() < u.j.Synced() {
		before := u.Stats().Bytes
		u.Drain(t.Context())
		if n := u.Stats().Bytes - before; n > 5000 || n < 3000 && u.j.Acked() < u.j.Synced() {
			t.Errorf("a window of %d bytes", n)
		}
		windows++
	}
	if windows < all/5000 {
		t.Errorf("%d windows for %d bytes", windows, all)
	}
	if doubled := r.same(u.card()); doubled != 0 {
		t.Errorf("%d twice", doubled)
	}
}

// What is synced while a window is open waits for the next one.
func TestWindowSendsWhatWasSynced(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	c := usual(b.url())
	c.Rate = 100 << 10
	u := newRig(t, c).run().connected()
	u.write(505)
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.Drain(t.Context())
	}()
	until(t, "the window is open", func() bool { return u.Stats().Records > 0 })
	u.write(500)
	<-done
	if acked := u.j.Acked(); acked != 505 {
		t.Errorf("cursor at %d, 505 were synced when the window opened", acked)
	}
	u.drain()
	r.same(u.card())
}

// The old backlog of a cloned card keeps its device and journal, in messages
// of its own.
func TestClonedCard(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	u := newRig(t, usual(b.url()))
	u.write(20)
	old := u.j.ID().String()
	if err := u.j.Close(); err != nil {
		t.Fatal(err)
	}
	u.j = openJournal(t, u.dir, "e", "m2", u.log)
	u.o.Journal = u.j
	u.write(20)
	u.run().connected()
	u.drain()
	r.same(u.card())
	seen := map[string]bool{}
	for _, m := range r.history() {
		seen[m.Device+" "+m.Journal] = true
		for _, raw := range m.Records {
			var x struct{ Fields struct{ N int } }
			_ = json.Unmarshal(raw, &x)
			if n := x.Fields.N; n > 0 && (n <= 20) != (m.Journal == old) {
				t.Fatalf("reading %d in a message of %s %s", n, m.Device, m.Journal)
			}
		}
	}
	if len(seen) != 2 || !seen["d "+old] || !seen["e "+u.j.ID().String()] {
		t.Errorf("heads: %v", seen)
	}
}

// While the clock was never set, history waits and live does not.
func TestClockWait(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	c := usual(b.url())
	c.ClockWait = time.Hour
	s := &source{name: "s", meta: "{}"}
	u := newRig(t, c, func(o *Options) {
		o.Sources = []Source{s}
		o.Now = func() record.Time { return record.Time{Wall: 1, Mono: 1} }
	}).run().connected()
	u.write(10)
	s.set(reading("s", 1))
	u.Drain(t.Context())
	until(t, "a live value", func() bool { return len(r.on("edgeagg/d/live/s")) > 0 })
	if len(r.history()) != 0 || u.j.Acked() != 0 {
		t.Error("history did not wait")
	}
	u.began = u.began.Add(-2 * time.Hour)
	u.drain()
	r.same(u.card())
}

// Two boards with one client id are told, and lose nothing.
func TestTakenOver(t *testing.T) {
	b := newBroker(t)
	one := newRig(t, usual(b.url())).run()
	two := newRig(t, usual(b.url())).run()
	one.write(100)
	until(t, "the warning", func() bool {
		one.Drain(t.Context())
		return one.logged.count("taken over")+two.logged.count("taken over") > 0
	})
	two.stop()
	one.drain()
	if len(one.refused) != 0 {
		t.Errorf("put aside: %v", one.refused)
	}
}

// What the card does not give back is told once, and does not hold up the rest.
func TestUnreadableRecord(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	var lost []string
	u := newRig(t, usual(b.url()), func(o *Options) {
		o.Lost = func(first, last uint64) { lost = append(lost, fmt.Sprint(first, "-", last)) }
	}).run().connected()
	u.write(10)
	u.put([]byte{5}) // sound by its checksum, and cut short
	u.Drain(t.Context())
	u.Drain(t.Context())
	u.write(10)
	u.Drain(t.Context())
	got, _ := r.books()
	until(t, "the rest", func() bool { got, _ = r.books(); return len(got) == 20 })
	if u.j.Acked() != 21 || !slices.Equal(lost, []string{"11-11"}) {
		t.Errorf("cursor %d, lost %v", u.j.Acked(), lost)
	}
	if !u.Stats().Connected || u.Stats().Connects != 1 {
		t.Error("it cost the connection")
	}
}

const hashed = `board:$7$101$XYesF/HwA5iV715j$oEnW4vCBl0uMqXWptirkOPBHpEmHpizNkovwQ4I5I5WZC3y20EvYkD8kpI9j8WI92K9n6WGIFuBMmUZNR7pvBg==`
