package uplink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// broker is a mosquitto on a port of its own, which keeps its sessions over a restart.
type broker struct {
	t    testing.TB
	dir  string
	port int
	cmd  *exec.Cmd
	said bytes.Buffer
}

// freePort is a port that nobody takes before the broker has it: it lies below
// those that the kernel gives away by itself (ip_local_port_range), and is
// asked for once in this process.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		p := 10000 + (os.Getpid()*151+int(ports.Add(1)))%20000
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p)); err == nil {
			l.Close()
			return p
		}
	}
	t.Fatal("no free port")
	return 0
}

var ports atomic.Int64

// newBroker starts one. Tests with a broker of their own run beside each other.
func newBroker(t testing.TB, listener ...string) *broker {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
	b := &broker{t: t, dir: t.TempDir(), port: freePort(t)}
	b.configure(listener...)
	b.start()
	t.Cleanup(func() {
		b.stop()
		if t.Failed() {
			t.Log("mosquitto:\n" + b.said.String())
		}
	})
	return b
}

func (b *broker) configure(listener ...string) {
	b.t.Helper()
	me, err := user.Current()
	if err != nil {
		b.t.Fatal(err)
	}
	if len(listener) == 0 {
		listener = []string{"allow_anonymous true"}
	}
	conf := fmt.Sprintf("user %s\npersistence true\npersistence_location %s/\nmax_queued_messages 0\nmax_inflight_messages 0\nlistener %d 127.0.0.1\n%s\n",
		me.Username, b.dir, b.port, strings.Join(listener, "\n"))
	b.write("mosquitto.conf", conf)
}

func (b *broker) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *broker) start() {
	b.t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
	}
	b.cmd = exec.Command(path, "-c", filepath.Join(b.dir, "mosquitto.conf"))
	b.cmd.Stdout, b.cmd.Stderr = &b.said, &b.said
	if err := b.cmd.Start(); err != nil {
		b.t.Fatalf("%v (apt-get install mosquitto)", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := net.Dial("tcp", b.addr())
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatal("mosquitto does not listen: ", err)
		}
	}
}

// stop ends the broker in order: it writes its sessions down.
func (b *broker) stop() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	_ = b.cmd.Wait()
	b.cmd = nil
}

func (b *broker) addr() string { return "127.0.0.1:" + strconv.Itoa(b.port) }
func (b *broker) url() string  { return "mqtt://" + b.addr() }

// received is one message as a subscriber got it.
type received struct {
	topic    string
	payload  string
	retained bool
}

// receiver is a subscriber with a session that outlives its connections, and
// keeps all that it gets, in order.
type receiver struct {
	t   testing.TB
	c   mqtt.Client
	mu  sync.Mutex
	all []received
}

var receivers atomic.Int64

func receive(t testing.TB, addr string, login ...string) *receiver {
	t.Helper()
	r := &receiver{t: t}
	o := mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(fmt.Sprintf("receiver-%d", receivers.Add(1))).SetCleanSession(false).SetProtocolVersion(4).
		SetAutoReconnect(true).SetMaxReconnectInterval(100 * time.Millisecond).SetOrderMatters(true)
	if len(login) == 2 {
		o.SetUsername(login[0]).SetPassword(login[1])
	}
	take := func(_ mqtt.Client, m mqtt.Message) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = append(r.all, received{m.Topic(), string(m.Payload()), m.Retained()})
	}
	o.SetDefaultPublishHandler(take)
	r.c = mqtt.NewClient(o)
	if tok := r.c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatal("receiver: ", tok.Error())
	}
	if tok := r.c.Subscribe("#", 1, take); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatal("receiver: ", tok.Error())
	}
	t.Cleanup(func() { r.c.Disconnect(0) })
	return r
}

func (r *receiver) publish(topic, payload string, retained bool) {
	r.t.Helper()
	if tok := r.c.Publish(topic, 1, retained, payload); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		r.t.Fatal("receiver: ", tok.Error())
	}
}

func (r *receiver) messages() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.all...)
}

// on gives the payloads of one topic.
func (r *receiver) on(topic string) (all []string) {
	for _, m := range r.messages() {
		if m.topic == topic {
			all = append(all, m.payload)
		}
	}
	return all
}

func (r *receiver) last(topic string) string {
	if all := r.on(topic); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// historyMessage is the payload of the topic history.
type historyMessage struct {
	Device, Journal string
	Resend          bool
	Records         []json.RawMessage
}

func (r *receiver) history() (all []historyMessage) {
	r.t.Helper()
	for _, p := range r.on("edgeagg/d/history") {
		d := json.NewDecoder(strings.NewReader(p))
		d.DisallowUnknownFields()
		var m historyMessage
		if err := d.Decode(&m); err != nil {
			r.t.Fatalf("history: %v: %s", err, p)
		}
		all = append(all, m)
	}
	return all
}

// books gives the records of history in the order of arrival, each key once,
// and how many came more than once. A second sight of a key has to say the
// same.
func (r *receiver) books() (records []string, doubled int) {
	r.t.Helper()
	seen := make(map[string]string)
	for _, m := range r.history() {
		for _, raw := range m.Records {
			var x struct{ Seq uint64 }
			if err := json.Unmarshal(raw, &x); err != nil {
				r.t.Fatal(err)
			}
			key := fmt.Sprint(m.Device, m.Journal, x.Seq)
			if was, ok := seen[key]; ok {
				doubled++
				if was != string(raw) {
					r.t.Fatalf("one key, two records:\n%s\n%s", was, raw)
				}
				continue
			}
			seen[key] = string(raw)
			records = append(records, string(raw))
		}
	}
	return records, doubled
}

// same holds that the receiver gets what is on the card, in order.
func (r *receiver) same(card []string) (doubled int) {
	r.t.Helper()
	var got []string
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, doubled = r.books()
		if len(got) >= len(card) || time.Now().After(deadline) {
			break
		}
	}
	for i := range min(len(card), len(got)) {
		if card[i] != got[i] {
			r.t.Fatalf("record %d differs:\ncard     %s\nreceived %s", i, card[i], got[i])
		}
	}
	if len(card) != len(got) {
		r.t.Fatalf("%d records on the card, %d received", len(card), len(got))
	}
	return doubled
}
