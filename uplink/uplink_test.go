package uplink

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgeagg/internal/config"
)

func TestEachFormatArrivesWholeAndInOrder(t *testing.T) {
	for _, format := range []string{"json", "influx", "thingsboard"} {
		for _, gz := range []bool{false, true} {
			t.Run(fmt.Sprint(format, " gzip ", gz), func(t *testing.T) {
				b := newBroker(t)
				r := receive(t, b)
				g := newRig(t, b.addr, func(c *config.Uplink) { c.Format, c.Gzip, c.Message = format, gz, 2000 })
				g.write(1000, 10)
				g.drained(20 * time.Second)
				var n, messages int
				until(t, 10*time.Second, "all is received", func() bool {
					n, messages = 0, 0
					for _, p := range r.on("edgeagg/dev/history") {
						if len(p) > 2000 {
							t.Fatalf("a message of %d bytes", len(p))
						}
						messages++
						body := unpack(t, p)
						switch format {
						case "influx":
							n += strings.Count(body, "\n")
						case "thingsboard":
							var m []struct {
								TS     int64
								Values map[string]any
							}
							if err := json.Unmarshal([]byte(body), &m); err != nil {
								t.Fatal(err)
							}
							for _, x := range m {
								if n++; x.Values["seq"] != float64(n) || x.TS != 1_700_000_000_000+int64(n-1)*1000 {
									t.Fatalf("%d: %+v", n, x)
								}
							}
						default:
							n = 1000
						}
					}
					return n == 1000
				})
				if format == "json" {
					until(t, 10*time.Second, "all is received", func() bool { s, _ := r.history(t); return len(s) == 1000 })
					s, doubled := r.history(t)
					whole(t, s, 1000)
					if doubled != 0 {
						t.Errorf("%d received twice", doubled)
					}
				}
				if gz && messages > 60 {
					t.Errorf("%d messages: they are not filled", messages)
				}
			})
		}
	}
}

func TestWhatConcernsThePresentMoment(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b)
	g := newRig(t, b.addr, nil)
	g.src.n.Store(1)
	until(t, 10*time.Second, "online, status, meta, live", func() bool {
		return r.last("edgeagg/dev/availability") == "online" && r.last("edgeagg/dev/status") == `{"at":"now"}` &&
			strings.Contains(r.last("edgeagg/dev/meta/live"), `"unit":"Cel"`) && strings.Contains(r.last("edgeagg/dev/live/live"), `"fields":{"t":1}`)
	})
	g.src.n.Store(2)
	until(t, 10*time.Second, "a new live value", func() bool { return strings.Contains(r.last("edgeagg/dev/live/live"), `"fields":{"t":2}`) })
	if p := r.last("edgeagg/dev/live/live"); strings.Contains(p, "seq") {
		t.Errorf("a live value with seq: %s", p)
	}
	g.stop()
	until(t, 10*time.Second, "stopped", func() bool { return r.last("edgeagg/dev/availability") == "stopped" })
	if n := len(r.on("edgeagg/dev/live/live")); n != 2 {
		t.Errorf("%d live messages of 2 readings", n)
	}
}

func TestTheLastWill(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b)
	w := newWire(t, b.addr)
	newRig(t, w.addr(), nil)
	until(t, 10*time.Second, "online", func() bool { return r.last("edgeagg/dev/availability") == "online" })
	w.cut()
	until(t, 10*time.Second, "offline, then online", func() bool {
		return strings.HasSuffix(strings.Join(r.on("edgeagg/dev/availability"), " "), "online offline online")
	})
}

// The link is cut again and again, in the middle of packets, and the broker is
// stopped once: nothing is lost, the order holds, and what is sent twice is
// what was in flight or in the window.
func TestCuts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := mathrand.New(mathrand.NewPCG(seed, 0))
	b := newBroker(t)
	r := receive(t, b)
	w := newWire(t, b.addr)
	const window = 64 << 10
	g := newRig(t, w.addr(), func(c *config.Uplink) { c.MaxBytes = window })
	const n = 10_000
	g.write(n, 10)
	cuts := 0
	for g.j.Acked() < g.j.Synced() {
		if cuts < 8 {
			w.budget.Store(int64(5000 + rng.IntN(90_000)))
			cuts++
		}
		if cuts == 4 {
			b.stop()
			b.start()
		}
		at := g.j.Acked()
		until(t, 30*time.Second, "progress", func() bool {
			g.Drain(t.Context())
			return g.j.Acked() > at
		})
	}
	until(t, 10*time.Second, "all is received", func() bool { s, _ := r.history(t); return len(s) == n })
	s, doubled := r.history(t)
	whole(t, s, n)
	if most := (cuts + 1) * (window + mostFlying) / 130; doubled > most {
		t.Errorf("%d received twice in %d cuts, at most %d expected", doubled, cuts, most)
	}
	t.Logf("%d cuts, %d records received twice", cuts, doubled)
}

// Answers that are swallowed end the connection after a while, and nothing is lost.
func TestAcknowledgementsThatNeverCome(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b)
	w := newWire(t, b.addr)
	g := newRig(t, w.addr(), nil)
	until(t, 10*time.Second, "online", func() bool { return r.last("edgeagg/dev/availability") == "online" })
	w.mute.Store(true)
	g.write(500, 10)
	begin := time.Now()
	g.Drain(t.Context())
	if took := time.Since(begin); took < ackTimeout/2 || took > 3*ackTimeout {
		t.Errorf("the window took %v", took)
	}
	if g.j.Acked() != 0 {
		t.Errorf("cursor at %d without an acknowledgement", g.j.Acked())
	}
	w.mute.Store(false)
	w.cut()
	g.drained(30 * time.Second)
	until(t, 10*time.Second, "all is received", func() bool { s, _ := r.history(t); return len(s) == 500 })
	s, _ := r.history(t)
	whole(t, s, 500)
}

// A broker that takes packets of 1 kB at most gets smaller messages; the one
// record that is larger by itself is put aside and told.
func TestABrokerThatLimitsPackets(t *testing.T) {
	b := newBroker(t, "max_packet_size 1000")
	r := receive(t, b)
	g := newRig(t, b.addr, nil)
	g.write(30, 10)
	g.write(1, 2000)
	g.write(30, 10)
	g.drained(60 * time.Second)
	until(t, 10*time.Second, "the rest is received", func() bool { s, _ := r.history(t); return len(s) == 60 })
	g.mu.Lock()
	defer g.mu.Unlock()
	if fmt.Sprint(g.refused) != "[[31 31]]" {
		t.Errorf("refused %v", g.refused)
	}
}

// A dead line, which takes nothing and answers nothing, delays a stop by no
// more than its bounds.
func TestAStopOnADeadLine(t *testing.T) {
	b := newBroker(t)
	w := newWire(t, b.addr)
	g := newRig(t, w.addr(), func(c *config.Uplink) { c.Message, c.Live = 256<<10, 10*time.Millisecond })
	until(t, 10*time.Second, "connected", func() bool { return g.Stats().Connected })
	g.write(20_000, 200)
	w.dead.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		g.Drain(ctx)
		close(done)
	}()
	until(t, 10*time.Second, "the line is full", func() bool { g.src.n.Add(1); return w.stuck.Load() })
	begin := time.Now()
	cancel()
	<-done
	if took := time.Since(begin); took > 3*grace {
		t.Errorf("the window ended %v late", took)
	}
	begin = time.Now()
	g.stop()
	if took := time.Since(begin); took > 3*(goodbye+grace) {
		t.Errorf("stopped in %v", took)
	}
}

func TestALoginThatIsRefused(t *testing.T) {
	b := newBroker(t, "allow_anonymous false")
	w := newWire(t, b.addr)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newRig(t, w.addr(), func(c *config.Uplink) { c.Username, c.PasswordFile = "u", password })
	until(t, 10*time.Second, "an error", func() bool { return g.Stats().Error != "" })
	if s := g.Stats(); !strings.Contains(strings.ToLower(s.Error), "not auth") || s.Connected {
		t.Errorf("%+v", s)
	}
	until(t, 20*time.Second, "four attempts", func() bool { return w.accepts.Load() >= 4 })
	g.stop()
	if n := strings.Count(g.log.String(), "not connected"); n != 1 {
		t.Errorf("%d lines of log for one state:\n%s", n, g.log)
	}
}

// A second broker is tried when the first is not there.
func TestSeveralBrokers(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b)
	newRig(t, "127.0.0.1:1", func(c *config.Uplink) {
		second := *c.Brokers[0]
		second.Host = b.addr
		c.Brokers = append(c.Brokers, &second)
	})
	until(t, 10*time.Second, "online", func() bool { return r.last("edgeagg/dev/availability") == "online" })
}

func TestTheBoundsOfAWindow(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b)
	g := newRig(t, b.addr, func(c *config.Uplink) { c.MaxBytes, c.Rate = 20_000, 100_000 })
	g.write(2000, 10)
	until(t, 10*time.Second, "online", func() bool { return r.last("edgeagg/dev/availability") == "online" })
	begin := time.Now()
	g.Drain(t.Context())
	if n := g.Stats().Bytes; n < 10_000 || n > 30_000 {
		t.Errorf("%d bytes in a window of 20 000", n)
	}
	if g.j.Acked() == 0 || g.j.Acked() >= 2000 {
		t.Errorf("cursor %d", g.j.Acked())
	}
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("20 000 bytes in %v at 100 000 bytes/s", took)
	}
	// What comes while a window is open waits for the next one.
	before := g.j.Synced()
	g.write(10, 10)
	if before == g.j.Synced() {
		t.Fatal("not synced")
	}
}

func TestHistoryWaitsForTheClock(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b)
	g := newRig(t, b.addr, func(c *config.Uplink) { c.ClockWait = time.Hour })
	g.set.Store(false)
	g.src.n.Store(1)
	g.write(10, 10)
	until(t, 10*time.Second, "a live value", func() bool { return r.last("edgeagg/dev/live/live") != "" })
	g.Drain(t.Context())
	if g.j.Acked() != 0 {
		t.Error("history went out before the clock was set")
	}
	g.set.Store(true)
	g.drained(10 * time.Second)
}

func TestMaxBytesDay(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b)
	g := newRig(t, b.addr, func(c *config.Uplink) { c.MaxBytesDay, c.Live, c.Status = 30_000, 0, time.Hour })
	g.write(3000, 10)
	until(t, 10*time.Second, "online", func() bool { return r.last("edgeagg/dev/availability") == "online" })
	for range 20 {
		g.Drain(t.Context())
	}
	if n := g.Stats().BytesToday; n < 15_000 || n > 31_000 {
		t.Errorf("%d bytes sent of 30 000", n)
	}
	if g.j.Acked() == 0 || g.j.Acked() >= 3000 {
		t.Errorf("cursor %d", g.j.Acked())
	}
}

// Between far windows the link is closed.
func TestAsleepBetweenFarWindows(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b)
	g := newRig(t, b.addr, func(c *config.Uplink) { c.Live, c.Every = 0, time.Hour })
	g.write(100, 10)
	g.Drain(t.Context())
	until(t, 10*time.Second, "asleep", func() bool { return r.last("edgeagg/dev/availability") == "asleep" })
	if g.j.Acked() != 100 {
		t.Errorf("cursor %d", g.j.Acked())
	}
	until(t, 10*time.Second, "not connected", func() bool { return !g.Stats().Connected })
	g.write(100, 10)
	g.Drain(t.Context())
	if g.j.Acked() != 200 {
		t.Errorf("cursor %d", g.j.Acked())
	}
}

func TestCommands(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b)
	g := newRig(t, b.addr, func(c *config.Uplink) { c.Commands = []string{"status", "upload", "resend"} })
	g.write(100, 10)
	g.drained(10 * time.Second)
	listening := func(n int) { // meta is published behind the subscription
		t.Helper()
		until(t, 10*time.Second, "subscribed", func() bool { return len(r.on("edgeagg/dev/meta/live")) >= n })
	}
	listening(1)
	ask := func(p string, retained bool) {
		t.Helper()
		if tok := r.c.Publish("edgeagg/dev/cmd", 1, retained, p); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
	}
	replies := 0
	reply := func() (m map[string]any) {
		t.Helper()
		replies++
		until(t, 10*time.Second, "a reply", func() bool { return len(r.on("edgeagg/dev/reply")) >= replies })
		if err := json.Unmarshal([]byte(r.on("edgeagg/dev/reply")[replies-1]), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	ask(`{"id":"1","do":"status"}`, false)
	if m := reply(); m["id"] != "1" || m["ok"] != true || m["status"].(map[string]any)["at"] != "now" {
		t.Errorf("%v", m)
	}
	for _, bad := range []struct{ cmd, want string }{
		{`{"id":"1","do":"status"}`, "was there before"},
		{`{"id":"2","do":"restart"}`, "not in uplink.commands"},
		{`{"id":"3","do":"dance"}`, "not in uplink.commands"},
		{`{"do":"status"}`, "id is missing"},
		{`hello`, "not a command"},
		{`{"id":"4","do":"status"} {}`, "behind the object"},
		{`{"id":"5","do":"status","x":1}`, "not a command"},
		{`{"id":"6","do":"` + strings.Repeat("x", 5000) + `"}`, "longer than"},
		{`{"id":"7","do":"resend"}`, "expected first and last"},
		{`{"id":"8","do":"resend","first":5000,"last":6000}`, "no records"},
	} {
		ask(bad.cmd, false)
		if m := reply(); m["ok"] != false || !strings.Contains(fmt.Sprint(m["error"]), bad.want) {
			t.Errorf("%.60s: %v", bad.cmd, m)
		}
	}
	before := len(r.on("edgeagg/dev/history"))
	ask(`{"id":"9","do":"resend","first":11,"last":20}`, false)
	if m := reply(); m["ok"] != true || m["sent"] != 10.0 {
		t.Errorf("%v", m)
	}
	until(t, 10*time.Second, "sent again", func() bool { return len(r.on("edgeagg/dev/history")) > before })
	if p := r.last("edgeagg/dev/history"); !strings.Contains(p, `"resend":true,"records":[{"seq":11,`) || strings.Contains(p, `"seq":21,`) {
		t.Error(p)
	}
	ask(`{"id":"10","do":"resend","from":"2023-11-14T22:13:22Z","to":"2023-11-14T22:13:25Z"}`, false)
	if m := reply(); m["ok"] != true || m["sent"] != 3.0 {
		t.Errorf("%v", m)
	}
	if g.j.Acked() != 100 {
		t.Errorf("the cursor moved to %d", g.j.Acked())
	}
	// A retained command is not obeyed, not even answered.
	ask(`{"id":"11","do":"status"}`, true)
	g.stop()
	h := newRig(t, b.addr, func(c *config.Uplink) { c.Commands = []string{"status"} })
	until(t, 10*time.Second, "connected again", func() bool { return h.Stats().Connected })
	listening(2)
	ask(`{"id":"12","do":"status"}`, false)
	for {
		m := reply()
		if m["id"] == "12" {
			break
		}
		if m["id"] != "11" || replies > 16 { // answered while it was not yet retained
			t.Fatalf("%v", m)
		}
	}
}

func TestHomeAssistantDiscovery(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b)
	newRig(t, b.addr, func(c *config.Uplink) { c.HomeAssistant = "homeassistant" })
	const topic = "homeassistant/sensor/dev_live_t/config"
	until(t, 10*time.Second, "discovery", func() bool { return r.last(topic) != "" && r.last("homeassistant/sensor/dev_live_text/config") != "" })
	var m map[string]any
	if err := json.Unmarshal([]byte(r.last(topic)), &m); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		"state_topic": "edgeagg/dev/live/live", "unit_of_measurement": "°C", "device_class": "temperature", "state_class": "measurement",
		"value_template": "{{ value_json.fields['t'] }}", "availability_topic": "edgeagg/dev/availability", "unique_id": "edgeagg_dev_live_t",
	} {
		if m[k] != want {
			t.Errorf("%s = %v, expected %s", k, m[k], want)
		}
	}
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.put("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) put(name, kind string, der []byte) string {
	a.t.Helper()
	name = filepath.Join(a.dir, name)
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return name
}

func (a *authority) issue(name string) (cert, key string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.put(name+".pem", "CERTIFICATE", der), a.put(name+".key", "EC PRIVATE KEY", raw)
}

func TestTLS(t *testing.T) {
	ca := newAuthority(t, "right")
	cert, key := ca.issue("broker")
	b := newBroker(t, "cafile "+filepath.Join(ca.dir, "ca.pem"), "certfile "+cert, "keyfile "+key, "require_certificate true", "use_identity_as_username true")
	mine, mineKey := ca.issue("board")
	secure := func(c *config.Uplink) {
		c.Brokers[0].Scheme = "mqtts"
		c.CA, c.Cert, c.Key = filepath.Join(ca.dir, "ca.pem"), mine, mineKey
	}
	t.Run("right", func(t *testing.T) {
		g := newRig(t, b.addr, secure)
		g.write(10, 10)
		g.drained(10 * time.Second)
	})
	for name, change := range map[string]func(*config.Uplink){
		"another CA":         func(c *config.Uplink) { c.CA = filepath.Join(newAuthority(t, "wrong").dir, "ca.pem") },
		"another name":       func(c *config.Uplink) { c.ServerName = "elsewhere.example" },
		"no certificate":     func(c *config.Uplink) { c.Cert, c.Key = "", "" },
		"a CA that is gone":  func(c *config.Uplink) { c.CA = "/nowhere.pem" },
		"a CA that is empty": func(c *config.Uplink) { c.CA = os.DevNull },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, b.addr, func(c *config.Uplink) { secure(c); change(c) })
			until(t, 10*time.Second, "an error", func() bool { return g.Stats().Error != "" })
			if s := g.Stats(); s.Connected {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestHoursOfTheDay(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	night := []config.Span{{From: 60, To: 300}}    // 01:00-05:00
	late := []config.Span{{From: 22 * 60, To: 60}} // 22:00-01:00
	summer := func(h, m int) time.Time { return time.Date(2026, 3, 29, h, m, 0, 0, berlin) }
	utc := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.In(berlin)
	}
	for _, c := range []struct {
		spans []config.Span
		at    time.Time
		want  bool
	}{
		{nil, summer(12, 0), true},
		{night, summer(0, 59), false}, {night, summer(1, 0), true}, {night, summer(4, 59), true}, {night, summer(5, 0), false},
		{late, summer(23, 0), true}, {late, summer(0, 30), true}, {late, summer(1, 0), false}, {late, summer(21, 59), false},
		// 02:00 becomes 03:00 on that day: 00:59Z is 01:59, 01:00Z is 03:00, 03:00Z is 05:00.
		{night, utc("2026-03-29T00:59:00Z"), true}, {night, utc("2026-03-29T01:00:00Z"), true}, {night, utc("2026-03-29T03:00:00Z"), false},
		// 03:00 becomes 02:00: the hour comes twice; 04:00Z is 05:00.
		{night, utc("2026-10-25T00:30:00Z"), true}, {night, utc("2026-10-25T01:30:00Z"), true}, {night, utc("2026-10-25T03:59:00Z"), true}, {night, utc("2026-10-25T04:00:00Z"), false},
	} {
		if got := within(c.spans, c.at); got != c.want {
			t.Errorf("%v at %v: %v", c.spans, c.at, got)
		}
	}
	var d day
	at := summer(23, 59)
	d.add(at, 100)
	if d.sent(at) != 100 || d.sent(at.Add(2*time.Minute)) != 0 {
		t.Error("the day's count does not end at midnight")
	}
	d.add(at, 50)
	if wait := d.spent(at, 50); wait < time.Minute || wait > 62*time.Second {
		t.Errorf("spent for %v", wait)
	}
}

func TestNewRefusesAFormatItDoesNotHave(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("an uplink without a broker")
	}
	u := &Uplink{o: Options{Config: config.Uplink{Format: "cbor"}}}
	if err := u.encoder().check(); err == nil {
		t.Error("an unknown format")
	}
}

func BenchmarkDrain(b *testing.B) {
	br := newBroker(b)
	g := newRig(b, br.addr, func(c *config.Uplink) { c.Live, c.Status = 0, time.Hour })
	until(b, 10*time.Second, "connected", func() bool { return g.Stats().Connected })
	g.write(b.N, 10)
	b.ResetTimer()
	g.Drain(context.Background())
	if g.j.Acked() != g.j.Synced() {
		b.Fatalf("%d of %d", g.j.Acked(), g.j.Synced())
	}
	drained := float64(b.N) / b.Elapsed().Seconds()
	b.StopTimer()
	// The same messages by a bare client, as many in flight.
	p := make([]byte, 8<<10)
	n := int(g.Stats().Bytes) / len(p)
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + br.addr).SetClientID("bare").SetOrderMatters(false).SetStore(noStore{}))
	if tok := c.Connect(); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
		b.Fatal(tok.Error())
	}
	defer c.Disconnect(0)
	begin := time.Now()
	var flying []mqtt.Token
	for range n {
		flying = append(flying, c.Publish("bare", 1, false, p))
		if len(flying) >= mostFlying/len(p) {
			flying[0].Wait()
			flying = flying[1:]
		}
	}
	for _, f := range flying {
		f.Wait()
	}
	bare := float64(b.N) / time.Since(begin).Seconds()
	b.ReportMetric(drained, "records/s")
	b.ReportMetric(drained/bare, "of-bare-paho")
	b.ReportMetric(float64(g.Stats().Bytes)/float64(b.N), "B/record")
}
