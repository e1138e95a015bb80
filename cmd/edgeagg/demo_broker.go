package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// broker is an MQTT broker inside this process that keeps books of the
// history it gets.
type broker struct {
	server *mqtt.Server
	addr   string

	mu   sync.Mutex
	seen map[string]map[uint64]bool // by device and journal: each seq
	last map[string]uint64
	sum  brokerBooks
}

// allow lets everyone do everything: the broker is on the loopback only.
type allow struct{ mqtt.HookBase }

// ID is mqtt.Hook's.
func (*allow) ID() string { return "allow" }

// Provides is mqtt.Hook's.
func (*allow) Provides(b byte) bool { return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck }

// OnConnectAuthenticate is mqtt.Hook's.
func (*allow) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnACLCheck is mqtt.Hook's.
func (*allow) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

// brokerBooks counts what the broker got.
type brokerBooks struct {
	records    uint64 // with different keys
	doubled    uint64 // with a key that was there before
	disordered uint64 // new, but behind a later one
	bad        uint64 // messages that are not history
}

func startBroker() (*broker, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b := &broker{
		server: mqtt.New(&mqtt.Options{InlineClient: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}),
		addr:   ln.Addr().String(),
		seen:   make(map[string]map[uint64]bool),
		last:   make(map[string]uint64),
	}
	if err := b.server.AddHook(new(allow), nil); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if err := b.server.AddListener(listeners.NewNet("demo", ln)); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if err := b.server.Serve(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if err := b.server.Subscribe("edgeagg/+/history", 1, b.take); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return b, nil
}

// take books one history message.
func (b *broker) take(_ *mqtt.Client, _ packets.Subscription, p packets.Packet) {
	var m struct {
		Device  string
		Journal string
		Records []struct{ Seq uint64 }
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := json.Unmarshal(p.Payload, &m); err != nil || m.Journal == "" || !strings.HasSuffix(p.TopicName, "/"+m.Device+"/history") {
		b.sum.bad++
		return
	}
	key := m.Device + "/" + m.Journal
	if b.seen[key] == nil {
		b.seen[key] = make(map[uint64]bool)
	}
	for _, r := range m.Records {
		switch {
		case b.seen[key][r.Seq]:
			b.sum.doubled++
			continue
		case r.Seq < b.last[key]:
			b.sum.disordered++
		}
		b.seen[key][r.Seq] = true
		b.last[key] = max(b.last[key], r.Seq)
		b.sum.records++
	}
}

func (b *broker) books() brokerBooks {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sum
}

func (b *broker) close() { _ = b.server.Close() }
