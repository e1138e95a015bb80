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

// patience is how long a stream is waited for at once: what overflowed, and
// the end of the program, are looked after in between.
const patience = 100 * time.Millisecond

// listen reads what a device sends by itself, or in answer to polls.
func (s *Source) listen(ctx context.Context, h *hand, d stream) error {
	rec := new(record.Record)
	read := func() error { return d.Read(rec) }
	wait := patience
	fill := func() error { return d.fill(wait) }
	asks := s.cfg.Poll != ""
	var asked record.Time // when the poll went out that waits for its answer
	if asks {
		s.aim()
	}
	if !asks || s.outage.reason == record.Unplugged {
		s.up(ctx)
		s.setState("ok")
	}
	for {
		for ctx.Err() == nil {
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
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait = patience
		if asks {
			now := s.o.Now()
			switch {
			case asked == (record.Time{}) && now.Mono >= s.tick:
				if err := s.bounded(ctx, h, s.cfg.Timeout, d.ask); err != nil {
					return err
				}
				asked = s.o.Now()
			case asked == (record.Time{}):
				wait = min(wait, time.Duration(s.tick-now.Mono)*time.Microsecond)
			case now.Mono-asked.Mono >= s.cfg.Timeout.Microseconds():
				err := fmt.Errorf("no answer to the poll within %v", s.cfg.Timeout)
				if s.outage.reason != "" {
					return err // twice: open the port anew
				}
				s.down(ctx, err)
				asked = record.Time{}
				s.aim()
			}
		}
		switch err := s.bounded(ctx, h, s.cfg.Timeout+patience, fill); {
		case errors.Is(err, errIdle):
			s.mend(ctx)
		case err != nil:
			return err
		}
	}
}

// fresh empties r for the next reading.
func fresh(r *record.Record) {
	r.Time, r.Quality, r.Why, r.Fields = record.Time{}, record.Good, "", r.Fields[:0]
}
