package sensors

import (
	"context"
	"errors"
	"time"

	"edgeagg/internal/record"
)

// maxHeld bounds the events and gaps that wait for room; more are counted
// with the readings.
const maxHeld = 64

// missing is what found no room in the buffer.
type missing struct {
	held     [][]byte // records about the source itself, oldest first
	n        int64    // readings that are lost
	from, to record.Time
	at       record.Time // of the gap that says so: behind all of these, before all that follows
}

// rising makes the times of the source rise by 1 µs at least. Only the setting
// of the clock may move the wall clock's side back: what was before is put
// right then.
func (s *Source) rising(t record.Time) record.Time {
	if t.Mono <= s.last.Mono {
		t.Mono = s.last.Mono + 1
	}
	if t.Wall <= s.last.Wall && (t.Set == s.last.Set || !t.Set) {
		t.Wall = s.last.Wall + 1
	}
	s.last = t
	return t
}

// write puts a record into the buffer. A polled source waits for room, but not
// into its next tick: it goes on reading, and counts what it lost.
func (s *Source) write(ctx context.Context, p []byte) (int, error) {
	n, err := s.o.Sink.TryWrite(p)
	if err == nil || s.kind.way != polled || !errors.Is(err, s.o.Full) {
		return n, err
	}
	left := s.tick + s.cfg.Every.Microseconds()*3/4 - s.o.Now().Mono
	if left <= 0 {
		return n, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(left)*time.Microsecond)
	defer cancel()
	return s.o.Sink.WriteContext(ctx, p)
}

// store writes a reading behind everything older, or counts it.
func (s *Source) store(ctx context.Context, p []byte, t record.Time) {
	if s.mend(ctx) {
		if _, err := s.write(ctx, p); err == nil {
			return
		}
	}
	s.miss(t)
}

// say writes a record about the source itself, or holds it until there is room.
func (s *Source) say(ctx context.Context, r *record.Record) {
	mended := s.mend(ctx)
	r.Source, r.Time = s.cfg.Name, s.rising(r.Time)
	p := record.Append(nil, r)
	if mended {
		if _, err := s.write(ctx, p); err == nil {
			return
		}
	}
	m := &s.missing
	if len(m.held) == maxHeld {
		s.miss(r.Time)
		return
	}
	m.held = append(m.held, p)
	if m.n > 0 {
		m.at = s.rising(m.to)
	}
}

// miss counts a record that found no room.
func (s *Source) miss(t record.Time) {
	m := &s.missing
	if m.n == 0 {
		m.from = t
	}
	m.n++
	m.to, m.at = t, s.rising(t)
	s.addTo(s.lost, record.Overflow, 1)
}

// mend writes what waits for room, and reports whether nothing is left.
func (s *Source) mend(ctx context.Context) bool {
	return len(s.missing.held) == 0 && s.missing.n == 0 || s.settle(ctx, s.write) == nil
}

// settle writes what is missing: the records that are held, then the gap over
// the rest.
func (s *Source) settle(ctx context.Context, write func(context.Context, []byte) (int, error)) error {
	m := &s.missing
	for len(m.held) > 0 {
		if _, err := write(ctx, m.held[0]); err != nil {
			return err
		}
		m.held = m.held[1:]
	}
	if m.n > 0 {
		if _, err := write(ctx, record.Append(nil, &record.Record{
			Kind: record.Gap, Source: s.cfg.Name, Reason: record.Overflow, Count: m.n, From: m.from, To: m.to, Time: m.at,
		})); err != nil {
			return err
		}
	}
	*m = missing{}
	return nil
}
