package sensors

import (
	"context"
	"errors"
	"time"

	"edgeagg/internal/record"
)

// gapEvery is how often an outage that goes on is told.
const gapEvery = time.Hour

// maxWhy bounds the cause in an event, bytes.
const maxWhy = 200

// outage is the time in which a source cannot be read.
type outage struct {
	reason string // record.Unplugged or record.Error; "": there is none
	why    string // as last logged
	from   record.Time
	told   record.Time // up to which a gap has said so
	tick   int64       // when the first reading that no gap has told was due
}

// down notes that the source cannot be read. One that was unplugged stays so
// until it is open again: what goes wrong while it comes back is part of that.
func (s *Source) down(ctx context.Context, err error) {
	now := s.o.Now()
	reason := record.Error
	if errors.Is(err, errGone) {
		reason = record.Unplugged
	}
	s.addTo(s.errors, reason, 1)
	if s.tick == 0 {
		s.tick = now.Mono
	}
	o, tick := &s.outage, s.tick
	if o.reason == record.Error && reason == record.Unplugged {
		s.tell(ctx, now, now.Mono) // a failing device was pulled
		o.reason, tick = "", o.tick
	}
	if o.reason != "" {
		if why := err.Error(); why != o.why {
			o.why = why
			s.log.Warn("still lost", "reason", o.reason, "err", err)
		}
		if now.Mono-o.told.Mono >= gapEvery.Microseconds() {
			s.tell(ctx, now, now.Mono)
		}
		return
	}
	event, state := record.Failed, "error"
	if reason == record.Unplugged {
		event, state = record.Lost, "unplugged"
	}
	s.log.Warn("source lost", "reason", reason, "err", err)
	*o = outage{reason: reason, why: err.Error(), from: now, told: now, tick: tick}
	s.setState(state)
	s.say(ctx, &record.Record{Kind: record.Event, Event: event, Why: headOf(err.Error(), maxWhy), Time: now})
}

// up notes that the source can be read.
func (s *Source) up(ctx context.Context) {
	o := &s.outage
	if o.reason == "" {
		return
	}
	now := s.o.Now()
	s.tell(ctx, now, s.tick-1)
	event := record.Back
	if o.reason == record.Unplugged {
		event = record.Plugged
	}
	s.log.Info("source back", "after", time.Duration(now.Mono-o.from.Mono)*time.Microsecond)
	o.reason = ""
	s.setState("ok")
	s.say(ctx, &record.Record{Kind: record.Event, Event: event, Time: now})
}

// tell writes the gap of the outage up to now. All readings that were due up
// to last, in µs since boot, are missing.
func (s *Source) tell(ctx context.Context, now record.Time, last int64) {
	o := &s.outage
	count := int64(-1)
	if s.scheduled() {
		count = 0
		if last >= o.tick {
			every := s.cfg.Every.Microseconds()
			count = (last-o.tick)/every + 1
			o.tick += count * every
		}
		s.addTo(s.lost, o.reason, count)
	}
	s.say(ctx, &record.Record{Kind: record.Gap, Reason: o.reason, Count: count, From: o.told, To: now, Time: now})
	o.told = now
}
