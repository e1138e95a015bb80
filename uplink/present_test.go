package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"edgeagg/internal/config"
)

// closed is a span of the day that now is not in.
func closed() []config.Span {
	at := time.Now().Add(12 * time.Hour)
	m := at.Hour()*60 + at.Minute()
	return []config.Span{{From: m, To: (m + 5) % 1440}}
}

// Live values keep their pace while a backlog drains, come only when there is
// a new one, and over a new connection once more.
func TestLive(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	k := newLink(t, b.addr())
	one, two := &source{name: "one", meta: "{}"}, &source{name: "two", meta: "{}"}
	c := usual(k.url())
	c.Rate = 100 << 10
	c.Live = 10 * time.Millisecond
	u := newRig(t, c, func(o *Options) { o.Sources = []Source{one, two} })
	two.set(reading("two", 1))
	u.write(5000)
	u.run().connected()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.Drain(ctx)
	}()
	for n := 1; n <= 20; n++ {
		one.set(reading("one", n))
		until(t, "the live value", func() bool {
			last := r.last("edgeagg/d/live/one")
			return last != "" && number(t, last) == n
		})
	}
	if u.j.Acked() == u.j.Synced() || len(r.history()) == 0 {
		t.Error("no backlog was draining meanwhile")
	}
	cancel()
	<-done
	if got := r.on("edgeagg/d/live/two"); len(got) != 1 {
		t.Errorf("one reading, %d live values", len(got))
	}
	k.cut()
	until(t, "the live value over the new connection", func() bool { return len(r.on("edgeagg/d/live/two")) == 2 })
}

// At most one live value each uplink.live, connections new or not.
func TestLivePace(t *testing.T) {
	s := &source{name: "s"}
	c := usual("mqtt://127.0.0.1:1")
	c.Live = time.Hour
	u := newRig(t, c, func(o *Options) { o.Sources = []Source{s} })
	for n := range 3 {
		s.set(reading("s", n))
		over := newConn(time.Second)
		u.lives.publish(u.Uplink, over)
		if got := len(over.urgent); (got == 1) != (n == 0) {
			t.Errorf("connection %d: %d live values", n, got)
		}
	}
}

// Outside `between` only availability, status and replies go.
func TestOutsideHours(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	c := usual(b.url())
	c.Between = closed()
	c.Commands = []string{"status", "upload", "resend"}
	c.Status = 10 * time.Millisecond
	c.HomeAssistant = "homeassistant"
	s := &source{name: "s", meta: `{"fields":[{"name":"n"}]}`}
	s.set(reading("s", 1))
	u := newRig(t, c, func(o *Options) { o.Sources = []Source{s} })
	u.write(10)
	u.run().connected()
	u.Drain(t.Context())
	until(t, "status", func() bool { return r.last("edgeagg/d/status") != "" }) // cmd is subscribed to before
	for i, do := range []string{`"status"`, `"upload"`, `"resend","first":1,"last":5`} {
		r.publish("edgeagg/d/cmd", fmt.Sprintf(`{"id":"%d","do":%s}`, i, do), false)
	}
	until(t, "three replies", func() bool { return len(r.on("edgeagg/d/reply")) == 3 })
	until(t, "status again", func() bool { return len(r.on("edgeagg/d/status")) > 3 })
	for _, m := range r.messages() {
		switch strings.TrimPrefix(m.topic, "edgeagg/d/") {
		case "availability", "status", "reply", "cmd":
		default:
			t.Errorf("%s was sent", m.topic)
		}
	}
	if u.j.Acked() != 0 {
		t.Error("the cursor moved")
	}
}

// A far window outside the hours does not even connect.
func TestFarOutsideHours(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	c := usual(b.url())
	c.Between, c.Live, c.Every = closed(), 0, time.Hour
	u := newRig(t, c).run()
	until(t, "it sleeps", func() bool { return r.last("edgeagg/d/availability") == "asleep" && !u.Stats().Connected })
	u.write(10)
	u.Drain(t.Context())
	if n := u.Stats().Connects; n != 1 {
		t.Errorf("%d connections", n)
	}
}

// Hours that end in the middle of a window end it; it goes on when they come
// back, without a message twice.
func TestHoursEnd(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	c := usual(b.url())
	c.Rate = 40 << 10
	c.Between = []config.Span{{From: 60, To: 120}}
	u := newRig(t, c)
	var at atomic.Int64 // minutes after midnight
	at.Store(90)
	u.wall = func() time.Time { return time.Date(2026, 3, 1, 0, int(at.Load()), 0, 0, time.Local) }
	u.write(2000)
	u.run().connected()
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.Drain(t.Context())
	}()
	until(t, "the window is open", func() bool { return u.Stats().Records > 0 })
	at.Store(120)
	<-done
	if acked := u.j.Acked(); acked == 0 || acked == u.j.Synced() {
		t.Errorf("cursor at %d", acked)
	}
	at.Store(24*60 + 61)
	u.o.Config.Rate = 0
	u.drain()
	if doubled := r.same(u.card()); doubled != 0 {
		t.Errorf("%d twice", doubled)
	}
}

// Between far windows the link is closed in order, and says so.
func TestAsleep(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	c := usual(b.url())
	c.Live, c.Every = 0, time.Hour
	u := newRig(t, c).run()
	said := func(words ...string) func() bool {
		return func() bool { return slices.Equal(r.on("edgeagg/d/availability"), words) }
	}
	until(t, "it shows itself once", said("online", "asleep"))
	u.write(100)
	u.drain()
	until(t, "one more connection", said("online", "asleep", "online", "asleep"))
	r.same(u.card())
	until(t, "the link is closed", func() bool { return !u.Stats().Connected })
	if err := u.Stats().Error; err != "" {
		t.Errorf("sleep is no error: %s", err)
	}
	if n := len(r.on("edgeagg/d/status")); n != 2 {
		t.Errorf("%d status", n)
	}
	u.stop()
	until(t, "stopped", said("online", "asleep", "online", "asleep", "stopped"))
}

// The day's bytes are never passed, and the link says that it sleeps.
func TestBytesOfTheDay(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	c := usual(b.url())
	c.MaxBytesDay = 20_000
	c.Status = time.Millisecond
	s := &source{name: "s", meta: "{}"}
	u := newRig(t, c, func(o *Options) { o.Sources = []Source{s} })
	u.write(1000)
	u.run().connected()
	u.Drain(t.Context())
	until(t, "it sleeps", func() bool { return r.last("edgeagg/d/availability") == "asleep" })
	until(t, "the link is closed", func() bool { return !u.Stats().Connected })
	st := u.Stats()
	if st.BytesToday > c.MaxBytesDay || st.BytesToday < c.MaxBytesDay*8/10 || st.Error != errSpent.Error() {
		t.Errorf("stats: %+v", st)
	}
	if st.Bytes == 0 || u.j.Acked() == 0 {
		t.Error("no history went")
	}
}

// commandRig is a board that obeys, and what it answers.
func TestCommands(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	r.publish("edgeagg/d/cmd", `{"id":"old","do":"restart"}`, true)
	c := usual(b.url())
	c.Commands = []string{"status", "upload", "resend", "probe", "restart"}
	restarts := make(chan struct{}, 9)
	u := newRig(t, c, func(o *Options) { o.Restart = func() { restarts <- struct{}{} } }).run().connected()
	until(t, "the retained command", func() bool { return u.logged.count("retained command ignored") == 1 })
	u.write(100)
	replies := 0
	ask := func(payload string) (a reply) {
		t.Helper()
		r.publish("edgeagg/d/cmd", payload, false)
		replies++
		until(t, "a reply to "+payload, func() bool { return len(r.on("edgeagg/d/reply")) == replies })
		if err := json.Unmarshal([]byte(r.last("edgeagg/d/reply")), &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := ask(`{"id":"1","do":"status"}`); a.ID != "1" || !a.OK || string(a.Status) != u.status {
		t.Errorf("status: %+v", a)
	}
	if a := ask(`{"id":"2","do":"upload"}`); !a.OK {
		t.Errorf("upload: %+v", a)
	}
	until(t, "the upload", func() bool { return u.j.Acked() == 100 })
	r.same(u.card())
	if a := ask(`{"id":"3","do":"resend","first":10,"last":19}`); !a.OK || a.Sent == nil || *a.Sent != 10 {
		t.Errorf("resend: %+v", a)
	}
	again := r.history()
	if m := again[len(again)-1]; !m.Resend || len(m.Records) != 10 || string(m.Records[0]) != u.card()[9] {
		t.Errorf("resent: %+v", m)
	}
	from, to := timeOf(t, u.card()[30]), timeOf(t, u.card()[40])
	if a := ask(fmt.Sprintf(`{"id":"4","do":"resend","from":%q,"to":%q}`, from, to)); !a.OK || *a.Sent == 0 {
		t.Errorf("resend by time: %+v", a)
	}
	if u.j.Acked() != 100 {
		t.Errorf("resend moved the cursor to %d", u.j.Acked())
	}
	for payload, want := range map[string]string{
		`{"id":"1","do":"status"}`:            "not obeyed again",
		`{"id":"5","do":"reboot"}`:            "not in uplink.commands",
		`{"do":"status"}`:                     "id is missing",
		`{"id":6,"do":"status"}`:              "not a command",
		`{"id":"7","do":"status","now":true}`: "not a command",
		`{"id":"8","do":"status"} {}`:         "behind the object",
		`restart`:                             "not a command",
		``:                                    "not a command",
		`{"id":"9","do":"resend"}`:            "expected first and last",
		`{"id":"10","do":"resend","first":9,"last":3}`:              "first <= last",
		`{"id":"11","do":"resend","first":500,"last":600}`:          "no such record",
		`{"id":"12","do":"resend","first":1,"from":"` + from + `"}`: "expected first and last",
		`{"id":"13","do":"status","first":1}`:                       "takes no first",
		`{"id":"14","do":"probe"}`:                                  "not available",
		`{"id":"` + strings.Repeat("x", maxCommand) + `"}`:          "longer than",
	} {
		if a := ask(payload); a.OK || !strings.Contains(a.Error, want) {
			t.Errorf("%.60s: %+v, want an error with %q", payload, a, want)
		}
	}
	if len(restarts) != 0 {
		t.Fatal("restarted")
	}
	if a := ask(`{"id":"15","do":"restart"}`); !a.OK {
		t.Errorf("restart: %+v", a)
	}
	until(t, "the restart", func() bool { return len(restarts) == 1 })
}

func timeOf(t *testing.T, raw string) string {
	t.Helper()
	var x struct{ Time string }
	if err := json.Unmarshal([]byte(raw), &x); err != nil {
		t.Fatal(err)
	}
	return x.Time
}

// Commands that are not listed are not even subscribed to.
func TestNoCommands(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	u := newRig(t, usual(b.url())).run().connected()
	until(t, "online", func() bool { return r.last("edgeagg/d/availability") == "online" })
	r.publish("edgeagg/d/cmd", `{"id":"1","do":"restart"}`, false)
	u.write(1)
	u.drain()
	r.same(u.card())
	if got := r.on("edgeagg/d/reply"); len(got) != 0 {
		t.Errorf("replies: %v", got)
	}
}

// writeOnly is the access list of a broker that lets nobody subscribe.
// mosquitto accepts such a subscription and then sends nothing.
type writeOnly struct{ mochi.HookBase }

func (*writeOnly) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (*writeOnly) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*writeOnly) OnACLCheck(_ *mochi.Client, _ string, write bool) bool    { return write }

// A broker that lets nobody subscribe to cmd still gets history.
func TestSubscriptionRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err := errors.Join(s.AddHook(new(writeOnly), nil), s.AddListener(listeners.NewNet("tcp", l)), s.Serve()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c := usual("mqtt://" + l.Addr().String())
	c.Commands = []string{"status"}
	u := newRig(t, c).run().connected()
	u.write(10)
	u.drain()
	if st := u.Stats(); st.Connects != 1 || u.logged.count("refuses the subscription") != 1 {
		t.Errorf("stats: %+v", st)
	}
}

// Discovery as Home Assistant documents it (MQTT sensor): a retained config
// for each field, fed by live.
func TestHomeAssistant(t *testing.T) {
	b := newBroker(t)
	r := receive(t, b.addr())
	c := usual(b.url())
	c.HomeAssistant = "homeassistant"
	s := &source{name: "out side", meta: `{"kind":"bme280","fields":[{"name":"temperature","unit":"Cel"},{"name":"it's","unit":""}]}`}
	newRig(t, c, func(o *Options) { o.Sources = []Source{s} }).run().connected()
	until(t, "two configs", func() bool {
		return r.last("homeassistant/sensor/d_out_side_temperature/config") != "" && r.last("homeassistant/sensor/d_out_side_it_s/config") != ""
	})
	want := `{"availability_template":"{{ 'online' if value in ['online', 'asleep'] else 'offline' }}","availability_topic":"edgeagg/d/availability",` +
		`"device":{"identifiers":["edgeagg_d"],"manufacturer":"edgeagg","name":"d"},"device_class":"temperature","name":"out side temperature",` +
		`"object_id":"d_out_side_temperature","state_class":"measurement","state_topic":"edgeagg/d/live/out side","unique_id":"edgeagg_d_out_side_temperature",` +
		`"unit_of_measurement":"°C","value_template":"{{ value_json.fields['temperature'] }}"}`
	if got := r.last("homeassistant/sensor/d_out_side_temperature/config"); got != want {
		t.Errorf("config:\n%s\nwant\n%s", got, want)
	}
	if got := r.last("homeassistant/sensor/d_out_side_it_s/config"); !strings.Contains(got, `fields['it\\'s']`) || strings.Contains(got, "state_class") {
		t.Errorf("config: %s", got)
	}
}
