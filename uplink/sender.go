package uplink

import (
	"context"
	"errors"
	"io"
	"time"

	"edgeagg/journal"
)

// saveEvery is how often a long window saves the cursor on its way.
const saveEvery = time.Minute

// sender is what windows keep from one to the next. Whoever has entered the
// window owns it.
type sender struct {
	u *Uplink

	// the window
	to     uint64  // the last record that it sends
	budget *budget // nil: none was opened yet
	acked  uint64  // over its present connection
	saved  time.Time

	// what comes next
	b      batch
	r      *journal.Reader
	at     uint64 // seq of the last record taken from r
	held   journal.Entry
	copied []byte // held's payload
	told   uint64 // seq of the last record that turned out to be none
	broken bool   // the card did not give back a record, and that was told

	// what is on its way
	flying []*flight
	bytes  int // of them
	spare  []*flight
	tight  bool // there is no room for more before something lands
	t      throttle
	s      suspicion
}

// flight is a message that is not yet acknowledged.
type flight struct {
	message
	first, last uint64
}

func (s *sender) init(u *Uplink) {
	s.u = u
	s.b.e = newEncoder(&u.o.Config)
	s.t = newThrottle(u.o.Config.Message)
}

// open begins a new window.
func (s *sender) open() {
	s.to, s.budget = s.u.o.Journal.Synced(), newBudget(&s.u.o.Config)
}

// ahead reports whether the window has something to send, and notes since
// when that waits.
func (s *sender) ahead() bool {
	from := s.u.o.Journal.Acked() + 1
	if from > s.to {
		return false
	}
	s.rewind(from)
	if err := s.peek(); err == nil && len(s.b.ends) == 0 && s.held.Seq != 0 && s.held.Decode(&s.b.d, &s.b.r) == nil {
		s.u.oldest.Store(s.b.r.Time.Wall)
	}
	return true
}

// window sends what is left of the window over c. An error means that the
// connection is over, or the card does not answer.
func (s *sender) window(ctx context.Context, c *conn) error {
	opened := time.Now()
	s.rewind(s.u.o.Journal.Acked() + 1)
	s.acked, s.saved = 0, opened
	err := s.run(ctx, c)
	s.land(c) // what was acknowledged while the end came
	s.save()
	select {
	case <-c.lost:
		s.blame(c)
	default:
	}
	s.forget()
	if err == nil && s.u.o.Journal.Acked() >= s.to {
		s.u.oldest.Store(opened.UnixMicro())
	}
	return err
}

// run publishes and takes acknowledgements until nothing is left to do.
func (s *sender) run(ctx context.Context, c *conn) error {
	select {
	case <-c.greeted: // so that nobody suspects a message of what the login caused
	case <-c.lost:
		return c.why
	case <-ctx.Done():
		return ctx.Err()
	}
	t := time.NewTimer(0)
	defer t.Stop()
	more := true
	for {
		s.land(c)
		if time.Since(s.saved) > saveEvery {
			s.save()
		}
		wait := time.Hour
		if more && s.room() {
			if wait = s.budget.wait(time.Now()); wait == 0 {
				var err error
				if more, err = s.publish(ctx, c); err != nil {
					return err
				}
				continue
			}
		}
		if len(s.flying) == 0 && !more {
			return nil
		}
		var landed <-chan struct{}
		if len(s.flying) > 0 {
			landed = s.flying[0].done
		}
		t.Reset(wait)
		select {
		case <-landed:
		case <-t.C:
		case <-c.lost:
			return c.why
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// room reports whether another message may fly.
func (s *sender) room() bool {
	if len(s.flying) == 0 {
		return true
	}
	if one, _ := s.s.one(s.flying[0].first); one {
		return false
	}
	return s.bytes+s.t.message <= s.t.limit && !s.tight
}

// wait is for when what is left of the window or the day is too little for the
// next record. What flies may make room: it counts for the day until it has
// landed, though it may be counted on the wire as well.
func (s *sender) wait() (more bool) {
	s.tight = len(s.flying) > 0
	return s.tight
}

// publish sends one message; more is false when the window has nothing left,
// or its budget is spent.
func (s *sender) publish(ctx context.Context, c *conn) (more bool, err error) {
	u := s.u
	if !u.inHours() {
		return false, nil
	}
	room := s.budget.room(s.t.message, u.day.history())
	if room == 0 {
		return s.wait(), nil
	}
	if err := s.fill(room); err != nil {
		if len(s.flying) > 0 {
			err = nil // these are still waited for
		}
		return false, err
	}
	if len(s.b.ends) == 0 {
		return false, nil
	}
	p, n := s.b.message(room, false)
	if len(p) > room && (room < s.t.message || s.budget.sent && int64(len(p)) > s.budget.left) {
		return s.wait(), nil
	}
	f := s.blank()
	f.first, f.last, f.payload = s.b.ends[0].seq, s.b.ends[n-1].seq, append(f.payload, p...)
	u.day.fly(len(p))
	if err := c.hand(ctx, c.history, &f.message); err != nil {
		u.day.fly(-len(p))
		return false, err
	}
	s.flying = append(s.flying, f)
	s.bytes += len(p)
	s.b.drop(n)
	s.budget.take(len(p), time.Now())
	u.records.Add(uint64(n))
	u.bytes.Add(uint64(len(p)))
	return true, nil
}

// land takes what has been acknowledged off the front.
func (s *sender) land(c *conn) {
	n := 0
	for _, f := range s.flying {
		select {
		case <-f.done:
		default:
			s.flying = s.flying[:copy(s.flying, s.flying[n:])]
			return
		}
		n++
		s.acked = f.last
		s.bytes -= len(f.payload)
		s.u.day.fly(-len(f.payload))
		s.tight = false
		s.t.acked(f.sent, f.took, time.Duration(c.rtt.Load()))
		s.s.acked(f.first, f.last, len(f.payload), &s.t, time.Now())
		s.spare = append(s.spare, f)
	}
	s.flying = s.flying[:0]
}

// blank is an empty flight, in the memory of one that has landed if there is one.
func (s *sender) blank() *flight {
	f := &flight{}
	if n := len(s.spare); n > 0 {
		f, s.spare = s.spare[n-1], s.spare[:n-1]
	}
	f.message = message{topic: s.u.o.Config.HistoryTopic, qos: 1, payload: f.payload[:0]}
	return f
}

// save moves the cursor over what has been acknowledged.
func (s *sender) save() {
	s.saved = time.Now()
	if s.acked <= s.u.o.Journal.Acked() {
		return
	}
	if err := s.u.o.Journal.Ack(s.acked); err != nil {
		// The card takes nothing: after a restart this goes out twice.
		s.u.log.Warn("cursor not saved", "err", err)
	}
}

// forget lets go of what is in flight when a window ends. The client may still
// hold these payloads.
func (s *sender) forget() {
	s.u.day.fly(-s.bytes)
	clear(s.flying)
	s.flying, s.bytes, s.spare, s.tight = s.flying[:0], 0, nil, false
}

// blame looks at why a connection with messages in flight was lost.
func (s *sender) blame(c *conn) {
	if len(s.flying) == 0 {
		return
	}
	head := s.flying[0]
	if errors.Is(c.why, errNoAck) {
		s.t.shrink(2)
	}
	if !closedByPeer(c.why) {
		return
	}
	if !s.s.closed(head.first, head.last, len(head.payload), len(s.flying) > 1, &s.t, time.Now()) {
		return
	}
	s.u.log.Error("the broker closes the connection on a record: it is put aside", "seq", head.first, "bytes", len(head.payload))
	if s.u.o.Refused != nil {
		s.u.o.Refused(head.first, head.last)
	}
	s.acked = head.last
	s.save()
}

// rewind makes from the next record.
func (s *sender) rewind(from uint64) {
	switch {
	case s.r == nil:
	case len(s.b.ends) > 0 && s.b.ends[0].seq == from:
		return
	case len(s.b.ends) == 0 && (s.held.Seq == from || s.held.Seq == 0 && s.at+1 == from):
		return
	}
	s.b.reset()
	s.drop()
	s.r = s.u.o.Journal.Reader(from, s.u.o.Lost)
	s.at = from - 1
}

// drop closes the reader.
func (s *sender) drop() {
	s.held = journal.Entry{}
	if s.r != nil {
		s.r.Close()
		s.r = nil
	}
}

// fill reads records until they make a message of most bytes.
func (s *sender) fill(most int) error {
	want := s.b.want(most)
	for len(s.b.p) < want {
		if err := s.peek(); err != nil {
			return err
		}
		e := &s.held
		if e.Seq == 0 || e.Seq > s.to || !s.b.takes(e) {
			return nil
		}
		if len(s.b.ends) > 0 {
			if _, alone := s.s.one(s.b.ends[0].seq); alone {
				return nil
			}
		}
		seq, err := e.Seq, s.b.add(e)
		s.held = journal.Entry{}
		if err != nil && seq > s.told { // no record, though its checksum holds
			s.told = seq
			s.u.log.Error("unreadable record left out", "err", err)
			if s.u.o.Lost != nil {
				s.u.o.Lost(seq, seq)
			}
		}
	}
	return nil
}

// peek makes held the next record; its Seq is 0 if no more is synced.
func (s *sender) peek() error {
	if s.held.Seq != 0 {
		return nil
	}
	if s.r == nil {
		return errCard
	}
	e, err := s.r.Next()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		if !s.broken {
			s.u.log.Error("history cannot be read from the card", "seq", s.at+1, "err", err)
		}
		s.broken = true
		s.drop()
		return errCard
	}
	s.broken = false
	s.at = e.Seq
	s.copied = append(s.copied[:0], e.Payload...)
	e.Payload = s.copied
	s.held = e
	return nil
}
