// Package uplink brings the journal to an MQTT broker, on a bounded schedule,
// and keeps what concerns the present moment (live values, status,
// availability, commands) beside it.
//
// The journal is the only queue: a message is built when it is sent, and the
// cursor moves when the broker has acknowledged. The MQTT client keeps
// nothing, connects once, and is thrown away with its connection.
package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
	"edgeagg/journal"
)

// Source is a source as the uplink sees it.
type Source interface {
	Name() string
	// Newest appends the newest reading's binary record; n counts readings.
	Newest(dst []byte) (payload []byte, n uint64)
	// Meta appends a JSON object with kind and fields.
	Meta(dst []byte) []byte
}

// Options say what goes where.
type Options struct {
	Config  config.Uplink
	Device  string
	Journal *journal.Journal
	Sources []Source
	Status  func(dst []byte) []byte // appends the JSON object of the topic status
	Now     func() record.Time
	Build   time.Time // no certificate is checked against an earlier time
	Log     *slog.Logger

	// Lost is told of synced records that the card does not give back and
	// that no gap names yet; Refused of those that the broker closed the
	// connection on. Both have to be journaled as gaps.
	Lost    func(first, last uint64)
	Refused func(first, last uint64)
	// Restart is the command of that name; Probe too, nil: not available.
	Restart func()
	Probe   func() []byte
}

// Stats is what the uplink is doing.
type Stats struct {
	Connected  bool       `json:"connected"`
	Broker     string     `json:"broker,omitempty"` // the one connected to, or tried last
	Error      string     `json:"error,omitempty"`  // why it is not connected
	Since      *time.Time `json:"since,omitempty"`  // of the present state
	Backlog    uint64     `json:"backlog"`          // synced records that are not acknowledged
	Records    uint64     `json:"published_records"`
	Bytes      uint64     `json:"published_bytes"` // of history payloads
	BytesToday int64      `json:"bytes_today"`     // sent over the wire, all topics, below TLS
	Reconnects uint64     `json:"reconnects"`
}

// Uplink is one uplink.
type Uplink struct {
	o   Options
	log *slog.Logger
	day day

	window sync.Mutex // held while a window is open
	send   sender     // of the window

	mu    sync.Mutex
	conn  *conn // nil: not connected
	ready chan struct{}
	last  string // broker
	err   error  // why there is no connection
	since time.Time

	kick  chan struct{} // connect now
	sleep chan struct{} // a far window has ended

	tickets  tls.ClientSessionCache // outlives the connections, so that most handshakes are short
	due      atomic.Bool            // a window found no connection
	moved    atomic.Bool            // the cursor has moved over the present connection
	began    time.Time
	records  atomic.Uint64
	bytes    atomic.Uint64
	connects atomic.Uint64
	commands commands
	sessions sessions
}

// farWindows is from when on the link is closed between windows, if nothing
// live goes over it.
const farWindows = 10 * time.Minute

// New checks what can be checked before a connection.
func New(o Options) (*Uplink, error) {
	if len(o.Config.Brokers) == 0 {
		return nil, errors.New("uplink: no broker")
	}
	u := &Uplink{o: o, log: o.Log, tickets: tls.NewLRUClientSessionCache(4), ready: make(chan struct{}), kick: make(chan struct{}, 1), sleep: make(chan struct{}, 1), began: time.Now(), since: time.Now()}
	u.send.init(u)
	if err := u.encoder().check(); err != nil {
		return nil, err
	}
	if _, err := u.tlsConfig(); err != nil {
		// A file may come later; the journal goes on meanwhile.
		u.log.Warn("uplink cannot connect yet", "err", err)
	}
	return u, nil
}

// far reports whether the link is closed between windows.
func (u *Uplink) far() bool { return u.o.Config.Live == 0 && u.o.Config.Every > farWindows }

// Stats is a snapshot.
func (u *Uplink) Stats() Stats {
	s := Stats{Records: u.records.Load(), Bytes: u.bytes.Load(), BytesToday: u.day.sent(time.Now()), Reconnects: u.connects.Load()}
	if synced, acked := u.o.Journal.Synced(), u.o.Journal.Acked(); synced > acked {
		s.Backlog = synced - acked
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s.Connected, s.Broker = u.conn != nil, u.last
	since := u.since.UTC()
	s.Since = &since
	if u.err != nil {
		s.Error = u.err.Error()
	}
	return s
}

// Run keeps a connection to the broker, and all that does not come from the
// journal, until ctx ends; then it says `stopped`, in 2 s at most.
func (u *Uplink) Run(ctx context.Context) {
	const first, most = 500 * time.Millisecond, 30 * time.Second
	wait := first
	for n := 0; ctx.Err() == nil; n++ {
		if u.far() && !u.due.Load() {
			select {
			case <-ctx.Done():
				return
			case <-u.kick:
			}
		}
		if until := u.day.spent(time.Now(), u.o.Config.MaxBytesDay); until > 0 {
			u.state(nil, "", errors.New("max_bytes_day is used up"))
			u.rest(ctx, until)
			continue
		}
		broker := u.o.Config.Brokers[n%len(u.o.Config.Brokers)]
		c, err := u.connect(ctx, broker)
		if err == nil {
			begin := time.Now()
			u.state(c, broker.Host, nil)
			off := c.cutAfter(ctx, goodbye+grace)
			err = u.serve(ctx, c)
			off()
			c.close()
			u.sessions.ended(u, time.Since(begin), err)
			if u.moved.Swap(false) || time.Since(begin) > 10*time.Second {
				wait = first
			}
			n-- // the same one again
		}
		if ctx.Err() != nil {
			break
		}
		u.state(nil, broker.Host, err)
		if errors.Is(err, errAsleep) {
			continue
		}
		if (n+2)%len(u.o.Config.Brokers) != 0 && len(u.o.Config.Brokers) > 1 && c == nil {
			continue // the next one, at once
		}
		u.rest(ctx, wait/2+rand.N(wait/2))
		wait = min(2*wait, most)
	}
}

// rest waits, but not longer than ctx or until somebody needs the connection.
func (u *Uplink) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// state notes a connection, or why there is none, and logs the change.
func (u *Uplink) state(c *conn, broker string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	was, old := u.conn != nil, u.err
	u.conn = c
	if broker != "" {
		u.last = broker
	}
	if c != nil {
		u.err, u.since = nil, time.Now()
		u.connects.Add(1)
		close(u.ready)
		u.log.Info("connected", "broker", broker)
		return
	}
	select {
	case <-u.ready:
		u.ready = make(chan struct{})
	default:
	}
	if was {
		u.since = time.Now()
	}
	u.err = err
	if errors.Is(err, errAsleep) {
		u.err = nil
	} else if err != nil && (was || old == nil || old.Error() != err.Error()) {
		u.log.Warn("not connected", "broker", broker, "err", err)
	}
}

// current is the connection, nil if there is none, and a channel that is
// closed once there is one.
func (u *Uplink) current() (*conn, <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conn, u.ready
}

// sessions notices a broker that closes again and again right after login.
type sessions struct {
	quick int
	told  bool
}

func (s *sessions) ended(u *Uplink, lived time.Duration, err error) {
	if lived > 5*time.Second || !closedByPeer(err) {
		s.quick, s.told = 0, false
		return
	}
	if s.quick++; s.quick >= 3 && !s.told {
		s.told = true
		u.log.Warn("the broker closes the connection right after login: perhaps another client uses the same client id", "client_id", u.o.Config.ClientID)
	}
}

func (u *Uplink) topic(name string) string { return fmt.Sprintf("%s/%s", u.o.Config.Topic, name) }
