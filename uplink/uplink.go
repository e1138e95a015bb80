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
	Acked      uint64     `json:"acked"`            // the cursor
	Backlog    uint64     `json:"backlog"`          // synced seqs that are not acknowledged
	Oldest     *time.Time `json:"oldest,omitempty"` // of the first record of the backlog, as of the last window
	Records    uint64     `json:"published_records"`
	Bytes      uint64     `json:"published_bytes"` // of history payloads
	BytesToday int64      `json:"bytes_today"`     // sent over the wire, all topics, TLS included, TCP/IP not
	Connects   uint64     `json:"connects"`        // connections made so far
}

// Uplink is one uplink.
type Uplink struct {
	o          Options
	log        *slog.Logger
	began      time.Time
	wall       func() time.Time // of the schedule; tests move it
	ackTimeout time.Duration
	backoff    [2]time.Duration // the first one and the longest

	day      day
	sessions sessions
	commands commands
	lives    lives
	kicks    kicks

	window chan struct{} // full while one is open
	send   sender        // of the window
	due    atomic.Bool   // the window goes on with the next connection

	background sync.WaitGroup // what Run waits for

	mu    sync.Mutex
	conn  *conn         // nil: not connected
	ready chan struct{} // closed while connected
	last  string        // broker
	err   error         // why there is no connection
	told  map[string]string
	since time.Time

	network chan struct{} // the network came up

	kick  chan struct{} // a far window needs a connection
	sleep chan struct{} // a far window has ended

	records  atomic.Uint64
	bytes    atomic.Uint64
	connects atomic.Uint64
	oldest   atomic.Int64 // µs since 1970
}

const (
	// ackTimeout without an acknowledgement, while one is due, ends the connection.
	ackTimeout = 20 * time.Second
	// firstBackoff and longestBackoff bound the wait between tries.
	firstBackoff   = 500 * time.Millisecond
	longestBackoff = 30 * time.Second
	// leastDay is the least that max_bytes_day may be.
	leastDay = 4 << 10
	// steady is how long a connection has to live for the wait to begin anew.
	steady = 10 * time.Second
)

// New checks what can be checked before a connection.
func New(o Options) (*Uplink, error) {
	switch c := &o.Config; {
	case len(c.Brokers) == 0:
		return nil, errors.New("uplink: no broker")
	case c.Format != "json" && c.Format != "influx" && c.Format != "thingsboard":
		return nil, fmt.Errorf("uplink.format = %q: expected json, influx or thingsboard", c.Format)
	case c.MaxBytesDay > 0 && c.MaxBytesDay < leastDay:
		return nil, fmt.Errorf("uplink.max_bytes_day = %d: a login, a status and a goodbye need %d bytes", c.MaxBytesDay, leastDay)
	}
	u := &Uplink{
		o: o, log: o.Log, began: time.Now(), since: time.Now(), wall: time.Now, ackTimeout: ackTimeout,
		backoff: [...]time.Duration{firstBackoff, longestBackoff},
		window:  make(chan struct{}, 1), ready: make(chan struct{}), told: make(map[string]string),
		kick: make(chan struct{}, 1), sleep: make(chan struct{}, 1), network: make(chan struct{}, 1),
	}
	u.day.limit, u.day.wall = o.Config.MaxBytesDay, func() time.Time { return u.wall() }
	u.commands.queue = make(chan []byte, 8)
	u.send.init(u)
	for _, b := range o.Config.Brokers {
		if _, err := u.tlsConfig(b); err != nil {
			// A file may come later; the journal goes on meanwhile.
			u.log.Warn("uplink cannot connect yet", "err", err)
			break
		}
	}
	// A link that will sleep shows itself once before.
	u.due.Store(u.far())
	return u, nil
}

// Stats is a snapshot.
func (u *Uplink) Stats() Stats {
	s := Stats{
		Acked: u.o.Journal.Acked(), Records: u.records.Load(), Bytes: u.bytes.Load(),
		BytesToday: u.day.sent(), Connects: u.connects.Load(),
	}
	if synced := u.o.Journal.Synced(); synced > s.Acked {
		s.Backlog = synced - s.Acked
		if at := u.oldest.Load(); at != 0 {
			t := time.UnixMicro(at).UTC()
			s.Oldest = &t
		}
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
// journal, until ctx ends; then it says `stopped`, in 2 s at most. What it has
// started has ended when it returns.
func (u *Uplink) Run(ctx context.Context) {
	defer u.background.Wait()
	u.background.Go(func() { watchNetwork(ctx, u.network) })
	wait, asleep := u.backoff[0], false
	for n := 0; ctx.Err() == nil; {
		if u.far() && !u.due.Load() {
			select {
			case <-ctx.Done():
				continue
			case <-u.kick:
			}
		}
		if until := u.day.over(); until > 0 {
			u.state(nil, "", errSpent)
			u.rest(ctx, until)
			continue
		}
		brokers := u.o.Config.Brokers
		broker := brokers[n%len(brokers)]
		c, err := u.connect(ctx, broker)
		if err != nil {
			u.state(nil, broker.Host, err)
			if n++; n%len(brokers) != 0 {
				continue // the next one, at once
			}
		} else {
			begin := time.Now()
			u.state(c, broker.Host, nil)
			err = u.serve(ctx, c)
			c.close()
			asleep = errors.Is(err, errAsleep)
			u.state(nil, broker.Host, u.kicks.ended(u, time.Since(begin), plain(err)))
			if time.Since(begin) > steady {
				wait = u.backoff[0]
			}
			if asleep {
				continue
			}
		}
		u.rest(ctx, wait/2+rand.N(wait/2))
		wait = min(2*wait, u.backoff[1])
	}
	if asleep {
		u.wake()
	}
}

// wake turns `asleep` into `stopped`, if the broker is quick.
func (u *Uplink) wake() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second-goodbye)
	defer cancel()
	c, err := u.connect(ctx, u.o.Config.Brokers[0])
	if err != nil {
		return // it stays asleep for those who look
	}
	u.leave(c, "stopped")
	c.close()
}

// rest waits, but not longer than ctx, and only a little once the network
// comes up.
func (u *Uplink) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	least := time.NewTimer(min(d, u.backoff[0]/2))
	defer least.Stop()
	select {
	case <-ctx.Done():
		return
	case <-least.C:
	}
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-u.network:
	}
}

// state notes a connection, or why there is none. It logs what changes, not
// every try.
func (u *Uplink) state(c *conn, broker string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.conn != nil
	u.conn = c
	if broker == "" {
		broker = u.last
	}
	u.last = broker
	if c != nil {
		u.err, u.since = nil, time.Now()
		u.connects.Add(1)
		close(u.ready)
		clear(u.told)
		u.log.Info("connected", "broker", broker)
		return
	}
	if was {
		u.since, u.ready = time.Now(), make(chan struct{})
	}
	switch {
	case errors.Is(err, errAsleep):
		u.err = nil
		u.log.Info("asleep until the next window", "broker", broker)
	case errors.Is(err, context.Canceled):
		u.err = nil
	default:
		u.err = err
		if u.told[broker] != err.Error() {
			u.told[broker] = err.Error()
			u.log.Warn("not connected", "broker", broker, "err", err)
		}
	}
}

// current is the connection, nil if there is none, and a channel that is
// closed once there is one.
func (u *Uplink) current() (*conn, <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conn, u.ready
}

// kicks notices a broker that closes again and again right after login.
type kicks struct{ quick int }

// ended says why a connection was lost that lived so long.
func (k *kicks) ended(u *Uplink, lived time.Duration, err error) error {
	if lived > 5*time.Second || !closedByPeer(err) {
		k.quick = 0
		return err
	}
	if k.quick++; k.quick < 3 {
		return err
	}
	return fmt.Errorf("the broker closes the connection right after login: perhaps it was taken over by another client with the id %q: %w", u.o.Config.ClientID, err)
}

func (u *Uplink) topic(name string) string { return u.o.Config.Topic + "/" + name }
