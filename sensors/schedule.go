package sensors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgeagg/internal/record"
)

// mostBehind is how far a counted source catches up; the rest is skipped.
const mostBehind = 10 * time.Second

// due is the next tick after now, in µs since boot: a multiple of every on the
// wall clock once that is set, and never two within half of every, wherever
// the wall clock is moved to.
func (s *Source) due(now record.Time) int64 {
	every := s.cfg.Every.Microseconds()
	at := now.Mono
	if now.Set {
		at = now.Wall
	}
	next := now.Mono + every - at%every
	if next-s.tick < every/2 {
		next += every
	}
	return next
}

// aim finds the first tick of a session: at once if there was none yet, the
// next one after an outage, else the one that was due.
func (s *Source) aim() {
	switch now := s.o.Now(); {
	case s.tick == 0:
		s.tick = now.Mono
	case s.outage.reason != "":
		s.tick = s.due(now)
	}
}

// advance goes on to the next tick, and counts those that are skipped.
func (s *Source) advance() {
	every := s.cfg.Every.Microseconds()
	next := s.due(s.o.Now())
	if late := (next-s.tick+every/2)/every - 1; late > 0 {
		s.add(&s.late, late)
	}
	s.tick = next
}

// poll reads the device at each tick.
func (s *Source) poll(ctx context.Context, h *hand, d driver) error {
	rec := new(record.Record) // of this session alone: a call that is left may still write to it
	read := func() error { return d.Read(rec) }
	s.aim()
	for began := time.Now(); time.Since(began) < renewAfter; s.advance() {
		if wait := s.tick - s.o.Now().Mono; wait > 0 {
			pause(ctx, time.Duration(wait)*time.Microsecond)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fresh(rec)
		if err := s.bounded(ctx, h, s.cfg.Timeout, read); err != nil {
			return err
		}
		s.again = false
		s.up(ctx)
		s.reading(ctx, rec)
	}
	return nil
}

// keepRate reads the driver as often as every asks, on the mean: a late tick
// brings all that is due by then.
func (s *Source) keepRate(ctx context.Context, d driver) error {
	rec := new(record.Record)
	read := func() error { return d.Read(rec) }
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	for {
		behind := time.Since(due)
		if behind > mostBehind {
			skip := int64((behind - mostBehind) / s.cfg.Every)
			due = due.Add(time.Duration(skip) * s.cfg.Every)
			s.add(&s.late, skip)
		}
		if behind < 0 {
			timer.Reset(-behind)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fresh(rec)
		if err := guard(s.log, read); err != nil {
			return err
		}
		s.up(ctx)
		s.reading(ctx, rec)
		due = due.Add(s.cfg.Every)
	}
}

const (
	// patience is how long a stream is waited for at once: what overflowed, and
	// the end of the program, are looked after in between.
	patience = 100 * time.Millisecond
	// lastFills is how often a stream is read once more when the program ends,
	// for what had come by then: the kernel's 4096 bytes, and more.
	lastFills = 4
)

// listen reads what a device sends by itself, or in answer to polls.
func (s *Source) listen(ctx context.Context, h *hand, d stream) error {
	rec := new(record.Record)
	read := func() error { return d.Read(rec) }
	wait := time.Millisecond // at first only to see whether it can be read
	fill := func() error { return d.fill(wait) }
	asks, ready := s.cfg.Poll != "", false
	var asked record.Time // when the poll went out that waits for its answer
	if asks {
		s.aim()
	}
	for left := lastFills; ; {
		if ctx.Err() != nil {
			if left--; left < 0 {
				return ctx.Err()
			}
			wait = 0
		} else if asks && ready {
			if err := s.converse(ctx, h, d, &asked); err != nil {
				return err
			}
			if asked == (record.Time{}) {
				wait = max(0, min(wait, time.Duration(s.tick-s.o.Now().Mono)*time.Microsecond))
			}
		}
		err := s.bounded(ctx, h, s.cfg.Timeout+patience, fill)
		if err != nil && !errors.Is(err, errIdle) {
			return err
		}
		if !ready && (!asks || s.outage.reason == record.Unplugged) {
			s.up(ctx)
			s.setState("ok")
		}
		ready, wait = true, patience
		if err != nil {
			s.mend(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		for {
			fresh(rec)
			err := guard(s.log, read)
			if errors.Is(err, errIdle) {
				break
			}
			if err != nil {
				return err
			}
			s.up(ctx)
			s.reading(ctx, rec)
			if asked != (record.Time{}) {
				asked = record.Time{}
				s.advance()
			}
		}
	}
}

// converse sends the poll when it is due, and looks after its answer. One that
// does not come is a reading that is missing; the second time it is an error,
// so that the port is opened anew.
func (s *Source) converse(ctx context.Context, h *hand, d stream, asked *record.Time) error {
	now := s.o.Now()
	switch waits := *asked != (record.Time{}); {
	case !waits && now.Mono >= s.tick:
		if err := s.bounded(ctx, h, s.cfg.Timeout, d.ask); err != nil {
			return err
		}
		*asked = s.o.Now()
	case waits && now.Mono-asked.Mono >= s.cfg.Timeout.Microseconds():
		err := fmt.Errorf("no answer to the poll within %v", s.cfg.Timeout)
		if s.outage.reason != "" {
			return err
		}
		s.down(ctx, err)
		*asked = record.Time{}
		s.aim()
	}
	return nil
}

// fresh empties r for the next reading.
func fresh(r *record.Record) {
	r.Time, r.Quality, r.Why, r.Fields = record.Time{}, record.Good, "", r.Fields[:0]
}
