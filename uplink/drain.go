package uplink

import (
	"context"
	"errors"
	"io"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgeagg/journal"
)

const (
	// ackTimeout without an acknowledgement, while one is due, ends the connection.
	ackTimeout = 20 * time.Second
	// fastAck is the time within which an acknowledgement says that the line takes more.
	fastAck = time.Second
	// mostFlying bounds the bytes that are sent and not acknowledged.
	mostFlying = 256 << 10
	// smallest is what messages shrink to.
	smallest = 512
	// grace is how long a window that has to end may take for it.
	grace = 300 * time.Millisecond
	// lowTime is how long messages stay small after the broker closed the
	// connection on larger ones.
	lowTime = 10 * time.Minute
	// kills is how often a record may end the connection, sent alone, before
	// it is put aside.
	kills = 3
)

// sender is what windows keep from one to the next. Whoever holds the
// uplink's window lock owns it.
type sender struct {
	u      *Uplink
	b      batch
	r      *journal.Reader
	at     uint64 // seq of the last record read
	held   journal.Entry
	copied []byte // held's payload

	flying []flight
	bytes  int // of them
	limit  int // of bytes in flight
	most   int // bytes of a message

	head  uint64 // first record in flight when the connection was last lost
	kills int    // how often in a row that was the same one
	alone bool   // records go one by one, since one of them may be what kills

	low      int // messages stay as small as this
	lowUntil time.Time
}

// flight is a message that is not yet acknowledged.
type flight struct {
	token       mqtt.Token
	first, last uint64
	bytes       int
	sent        time.Time
}

func (s *sender) init(u *Uplink) {
	s.u = u
	s.b.e = u.encoder()
	s.most = u.o.Config.Message
	s.limit = 2 * s.most
}

// Drain opens a window: what is synced by now goes out, as far as the budget
// lets it. It returns when all of that is acknowledged, the connection is
// lost, or ctx ends. While another window is open it does nothing.
func (u *Uplink) Drain(ctx context.Context) {
	if !u.window.TryLock() {
		return
	}
	defer u.window.Unlock()
	to := u.o.Journal.Synced()
	if to <= u.o.Journal.Acked() || !within(u.o.Config.Between, time.Now()) || u.waitsForClock() {
		return
	}
	c := u.reach(ctx)
	if c == nil {
		return
	}
	defer c.cutAfter(ctx, grace)()
	if err := u.send.window(ctx, c, to); err != nil && ctx.Err() == nil {
		c.end(err)
	}
	if u.far() {
		select {
		case u.sleep <- struct{}{}:
		default:
		}
	}
}

// waitsForClock reports whether history is held back because the clock may be
// set soon.
func (u *Uplink) waitsForClock() bool {
	return !u.o.Now().Set && time.Since(u.began) < u.o.Config.ClockWait
}

// reach gives the connection; between far windows it asks for one.
func (u *Uplink) reach(ctx context.Context) *conn {
	c, ready := u.current()
	if c != nil {
		return c
	}
	u.due.Store(true)
	if !u.far() {
		return nil // the next connection opens the window
	}
	select {
	case u.kick <- struct{}{}:
	default:
	}
	t := time.NewTimer(2 * connectTimeout)
	defer t.Stop()
	select {
	case <-ready:
	case <-ctx.Done():
	case <-t.C:
	}
	c, _ = u.current()
	return c
}

// window sends the records up to to.
func (s *sender) window(ctx context.Context, c *conn, to uint64) error {
	s.rewind(s.u.o.Journal.Acked() + 1)
	defer s.forget()
	budget := newBudget(&s.u.o.Config, s.u.day.sent(time.Now()))
	acked := uint64(0)
	err := func() error {
		for {
			for len(s.flying) == 0 || s.bytes < s.limit && !s.alone {
				done, err := s.fill(to)
				if err != nil {
					return err
				}
				if done {
					break
				}
				if err := budget.pace(ctx, c); err != nil {
					return err
				}
				if !s.publish(c, budget) {
					break
				}
			}
			if len(s.flying) == 0 {
				return nil
			}
			n, err := s.settle(ctx, c)
			acked = max(acked, n)
			if err != nil {
				return err
			}
		}
	}()
	if acked > 0 {
		if e := s.u.o.Journal.Ack(acked); e != nil {
			// The card takes nothing: after a restart this goes out twice.
			s.u.log.Warn("cursor not saved", "err", e)
		}
	}
	s.blame(acked, err)
	return err
}

// rewind makes the next record read the one numbered from.
func (s *sender) rewind(from uint64) {
	s.b.reset()
	s.held = journal.Entry{}
	if s.r == nil || s.at+1 != from {
		if s.r != nil {
			s.r.Close()
		}
		s.r = s.u.o.Journal.Reader(from, s.u.o.Lost)
		s.at = from - 1
	}
}

// forget lets go of what is in flight when a window ends.
func (s *sender) forget() {
	clear(s.flying)
	s.flying, s.bytes = s.flying[:0], 0
}

// fill reads records until a message can be made; done means that there is
// nothing left to send in this window.
func (s *sender) fill(to uint64) (done bool, err error) {
	b := &s.b
	want := s.most
	if b.e.gz != nil {
		want *= 12 // more than it will be packed by; message takes what fits
	}
	for len(b.p) < want && (!s.alone || len(b.ends) == 0) {
		if s.held.Seq != 0 {
			ok, err := b.add(&s.held)
			if err != nil {
				return false, err
			}
			if !ok {
				break
			}
			s.held = journal.Entry{}
		}
		if s.at >= to {
			break
		}
		e, err := s.r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.r.Close()
			s.r = nil
			return false, err
		}
		s.at = e.Seq
		if e.Seq > to {
			s.hold(e)
			break
		}
		ok, err := b.add(&e)
		if err != nil {
			return false, err
		}
		if !ok {
			s.hold(e)
			break
		}
	}
	return len(b.ends) == 0, nil
}

// hold keeps a record that belongs into the next message.
func (s *sender) hold(e journal.Entry) {
	s.copied = append(s.copied[:0], e.Payload...)
	e.Payload = s.copied
	s.held = e
}

// publish sends the first message of the batch, if the budget has room for it.
func (s *sender) publish(c *conn, budget *budget) bool {
	topic := s.u.o.Config.HistoryTopic
	room := budget.fits(s.most, len(topic))
	p, n := s.b.message(room, false)
	if len(p) > budget.fits(len(p), len(topic)) {
		return false
	}
	f := flight{first: s.b.ends[0].seq, last: s.b.ends[n-1].seq, bytes: len(p), sent: time.Now()}
	if len(s.flying) == 0 {
		c.acked.Store(f.sent.UnixMicro())
	}
	// The client holds on to the payload until it is written.
	f.token = c.Publish(topic, 1, false, append(make([]byte, 0, len(p)), p...))
	s.b.drop(n)
	s.flying = append(s.flying, f)
	s.bytes += f.bytes
	budget.take(f.bytes + len(topic))
	s.u.records.Add(uint64(n))
	s.u.bytes.Add(uint64(f.bytes))
	return true
}

// settle waits for the oldest message's acknowledgement, and gives the seq up
// to which all are acknowledged.
func (s *sender) settle(ctx context.Context, c *conn) (acked uint64, err error) {
	f := &s.flying[0]
	t := time.NewTimer(time.Until(time.UnixMicro(c.acked.Load()).Add(ackTimeout)))
	defer t.Stop()
	select {
	case <-f.token.Done():
	case <-c.lost:
		err = c.why
	case <-ctx.Done():
		err = ctx.Err()
	case <-t.C:
		s.most = max(smallest, s.most/2)
		s.limit = s.most
		return 0, errors.New("the broker acknowledges nothing")
	}
	// Whatever ended the wait: take all that has been acknowledged.
	for len(s.flying) > 0 {
		f := &s.flying[0]
		select {
		case <-f.token.Done():
		default:
			return acked, err
		}
		if e := f.token.Error(); e != nil {
			// The token may be told before the connection's end is.
			select {
			case <-c.lost:
				err = c.why
			case <-time.After(time.Second):
			}
			return acked, errors.Join(err, e)
		}
		now := time.Now()
		c.acked.Store(now.UnixMicro())
		acked = f.last
		s.adapt(now.Sub(f.sent))
		s.bytes -= f.bytes
		s.flying = s.flying[:copy(s.flying, s.flying[1:])]
	}
	return acked, err
}

// adapt lets more fly while the line is fast, and less, in smaller messages,
// while it is slow.
func (s *sender) adapt(took time.Duration) {
	if took <= fastAck {
		s.limit = min(s.limit+s.most, mostFlying)
		ceiling := s.u.o.Config.Message
		if time.Now().Before(s.lowUntil) {
			ceiling = s.low
		}
		s.most = min(s.most*2, ceiling)
		return
	}
	if s.limit /= 2; s.limit < s.most {
		s.most = max(smallest, s.most/2)
		s.limit = s.most
	}
}

// blame looks at what was in flight when a connection ended: if the broker
// closed it, again and again, on the same record, messages get smaller until
// that record goes alone, and then it is put aside.
func (s *sender) blame(acked uint64, err error) {
	if err == nil || acked > 0 {
		s.kills, s.alone, s.head = 0, false, 0
		s.u.moved.Store(true)
	}
	if err == nil || len(s.flying) == 0 || !closedByPeer(err) {
		return
	}
	head := s.flying[0]
	if head.first != s.head {
		s.head, s.kills = head.first, 0
	}
	if !s.alone {
		s.most = max(smallest, s.most/4)
		s.limit = s.most
		s.low, s.lowUntil = s.most, time.Now().Add(lowTime)
		s.alone = head.first == head.last || s.most == smallest
		return
	}
	if s.kills++; s.kills < kills {
		return
	}
	s.u.log.Error("the broker closes the connection on a record: it is put aside", "seq", head.first)
	if s.u.o.Refused != nil {
		s.u.o.Refused(head.first, head.last)
	}
	if e := s.u.o.Journal.Ack(head.last); e != nil {
		s.u.log.Warn("cursor not saved", "err", e)
	}
	s.kills, s.alone, s.head = 0, false, 0
}
