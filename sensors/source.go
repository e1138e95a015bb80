package sensors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// How a source that cannot be read is tried again.
const (
	firstRetry = 100 * time.Millisecond
	plugRetry  = time.Second      // the longest wait for a device that is unplugged
	failRetry  = 30 * time.Second // the longest wait for one that fails
	gapEvery   = time.Hour        // an outage is told at least so often
	lastWords  = 500 * time.Millisecond
)

// Status is what a source is doing.
type Status struct {
	State     string            `json:"state"` // starting, ok, stale, unplugged, error
	Last      time.Time         `json:"last"`  // of the newest reading; zero before the first
	Readings  uint64            `json:"readings"`
	Errors    map[string]uint64 `json:"errors,omitempty"`    // by reason
	Lost      map[string]uint64 `json:"lost,omitempty"`      // readings by the reason of their gap, where they can be counted
	Late      uint64            `json:"late,omitempty"`      // ticks that were skipped
	Abandoned uint64            `json:"abandoned,omitempty"` // calls that did not return in time
}

// Source is one running source.
type Source struct {
	cfg  *config.Source
	kind kind
	o    *Options
	log  *slog.Logger

	// the goroutine's own
	rec     record.Record
	buf     []byte
	last    record.Time // of the last record
	stored  stored
	outage  outage
	missing missing
	busy    chan struct{} // closed once an abandoned call has returned; nil: none
	tick    int64         // µs since boot at which the present attempt was due; polled kinds only
	again   bool          // the present attempt failed once

	mu      sync.Mutex // over what others see
	newest  []byte
	count   uint64
	state   string
	lastAt  time.Time
	seenAt  time.Time // when the newest reading came, by this process's clock
	errors  map[string]uint64
	lost    map[string]uint64
	late    uint64
	abandon uint64
}

// outage is the time in which a source cannot be read.
type outage struct {
	reason string // record.Unplugged or record.Error; "": there is none
	from   record.Time
	told   record.Time // up to which a gap has said so
	tick   int64       // when the first reading that no gap has told was due
}

// missing counts readings for which the buffer had no room.
type missing struct {
	n        int64
	from, to record.Time
	held     [][]byte // records about the source itself that found no room
}

// maxHeld bounds the events and gaps that wait for room; more are counted.
const maxHeld = 64

func newSource(c *config.Source, k kind, o *Options) *Source {
	return &Source{
		cfg: c, kind: k, o: o, log: o.Log.With("source", c.Name), state: "starting",
		errors: make(map[string]uint64), lost: make(map[string]uint64),
	}
}

// Name is the source's name.
func (s *Source) Name() string { return s.cfg.Name }

// Newest copies the newest reading's binary record, also one that found no
// room, behind dst; n counts the readings so far.
func (s *Source) Newest(dst []byte) (payload []byte, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(dst, s.newest...), s.count
}

// Meta appends what does not change: the JSON object of the topic meta.
func (s *Source) Meta(dst []byte) []byte {
	dst = record.AppendQuoted(append(dst, `{"kind":`...), s.cfg.Kind)
	for _, p := range [][2]string{{"port", s.cfg.Port}, {"bus", s.cfg.Bus}, {"path", s.cfg.Path}} {
		if p[1] == "" || p[0] == "bus" && s.cfg.Kind != "bme280" {
			continue
		}
		dst = append(record.AppendQuoted(append(dst, ','), p[0]), ':')
		dst = record.AppendQuoted(dst, p[1])
	}
	dst = append(dst, `,"fields":[`...)
	for i, f := range s.kind.fields(s.cfg) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = record.AppendQuoted(append(dst, `{"name":`...), f.Name)
		if f.Unit != "" {
			dst = record.AppendQuoted(append(dst, `,"unit":`...), f.Unit)
		}
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

// Status is a snapshot.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{
		State: s.state, Last: s.lastAt, Readings: s.count, Late: s.late, Abandoned: s.abandon,
		Errors: maps.Clone(s.errors), Lost: maps.Clone(s.lost),
	}
	if st.State == "ok" && s.cfg.Stale > 0 && time.Since(s.seenAt) > s.cfg.Stale {
		st.State = "stale"
	}
	return st
}

func (s *Source) setState(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == "ok" && s.state != "ok" {
		s.seenAt = time.Now()
	}
	s.state = state
}

func (s *Source) countError(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors[reason]++
}

// run keeps the source alive until ctx ends.
func (s *Source) run(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		err := s.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if s.kind.way == polled && s.outage.reason == "" && !s.again {
			s.again = true // once more, with the device opened anew
			continue
		}
		s.again = false
		if s.outage.reason == "" { // it was up
			wait = firstRetry
		}
		s.down(ctx, err)
		longest := failRetry
		if s.outage.reason == record.Unplugged {
			longest = plugRetry
		}
		if s.cfg.Every > 0 {
			longest = max(min(longest, s.cfg.Every), firstRetry)
		}
		wait = min(wait, longest)
		pause(ctx, wait/2+rand.N(wait/2))
		wait *= 2
	}
	s.finish()
}

// pause waits, but not longer than ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// session opens the device and reads it until that fails.
func (s *Source) session(ctx context.Context) error {
	var d driver
	err := s.bounded(ctx, s.cfg.Timeout, func() (err error) {
		d, err = s.kind.open(s.cfg, s.o)
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		// A call that was abandoned closes its driver itself.
		if s.busy == nil {
			if err := d.Close(); err != nil && !errors.Is(err, errGone) {
				s.log.Debug("close", "err", err)
			}
		}
	}()
	switch s.kind.way {
	case sends:
		return s.listen(ctx, d)
	case counted:
		return s.keepRate(ctx, d)
	}
	return s.poll(ctx, d)
}

// bounded calls f, which may hang, and turns its panic into an error. When it
// does not return in time it is left alone, and nothing else of the source is
// called until it has.
func (s *Source) bounded(ctx context.Context, limit time.Duration, f func() error) error {
	if s.busy != nil {
		select {
		case <-s.busy:
			s.busy = nil
		default:
			return errors.New("an earlier call has not returned yet")
		}
	}
	done := make(chan error, 1)
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		done <- s.guard(f)
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		s.busy = returned
		return ctx.Err()
	case <-t.C:
		s.busy = returned
		s.mu.Lock()
		s.abandon++
		s.mu.Unlock()
		return fmt.Errorf("no answer within %v", limit)
	}
}

func (s *Source) guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("panic", "err", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return f()
}

// listen reads what a device sends by itself.
func (s *Source) listen(ctx context.Context, d driver) error {
	s.up(ctx)
	for ctx.Err() == nil {
		s.rec.Time = record.Time{}
		switch err := s.guard(func() error { return d.Read(&s.rec) }); {
		case err == nil:
			s.reading(ctx)
		case errors.Is(err, errIdle):
			s.mend()
		default:
			return err
		}
	}
	return ctx.Err()
}

// poll reads the device each `every`, aligned to the clock, and at once when
// it was never read before.
func (s *Source) poll(ctx context.Context, d driver) error {
	every := s.cfg.Every.Microseconds()
	if now := s.o.Now(); s.outage.reason != "" || s.tick == 0 {
		first := s.tick == 0
		s.tick = s.due(now)
		if first {
			s.tick = now.Mono
		}
	}
	for {
		if wait := s.tick - s.o.Now().Mono; wait > 0 {
			pause(ctx, time.Duration(wait)*time.Microsecond)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rec := &record.Record{Fields: s.rec.Fields}
		if err := s.bounded(ctx, s.cfg.Timeout, func() error { return d.Read(rec) }); err != nil {
			s.rec.Fields = nil // an abandoned call may still write to them
			return err
		}
		s.rec, s.again = *rec, false
		s.up(ctx)
		s.reading(ctx)
		next := s.due(s.o.Now())
		if late := (next - s.tick + every/2) / every; late > 1 {
			s.mu.Lock()
			s.late += uint64(late - 1)
			s.mu.Unlock()
		}
		s.tick = next
	}
}

// due is the next tick after now, in µs since boot: a multiple of every on
// the wall clock once it is set.
func (s *Source) due(now record.Time) int64 {
	every := s.cfg.Every.Microseconds()
	at := now.Mono
	if now.Set {
		at = now.Wall
	}
	return now.Mono + every - at%every
}

// keepRate reads the driver as often as every asks, on the mean: a late tick
// brings all that is due by then.
func (s *Source) keepRate(ctx context.Context, d driver) error {
	const most = 10 * time.Second // to catch up with; the rest is skipped
	every := s.cfg.Every
	s.up(ctx)
	begin := time.Now()
	for n := int64(1); ; n++ {
		due := begin.Add(time.Duration(n) * every)
		behind := time.Since(due)
		if behind < 0 {
			pause(ctx, -behind)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if behind > most {
			skip := int64((behind - most) / every)
			n += skip
			s.mu.Lock()
			s.late += uint64(skip)
			s.mu.Unlock()
		}
		s.rec.Time = record.Time{}
		if err := d.Read(&s.rec); err != nil {
			return err
		}
		s.reading(ctx)
	}
}

// down notes that the source cannot be read.
func (s *Source) down(ctx context.Context, err error) {
	now := s.o.Now()
	reason := record.Error
	if errors.Is(err, errGone) {
		reason = record.Unplugged
	}
	s.countError(reason)
	o := &s.outage
	if o.reason != "" && o.reason != reason {
		s.tell(ctx, now, now.Mono) // a failing device was pulled, or the other way round
		o.reason = ""
	}
	if o.reason == "" {
		event, state := record.Failed, "error"
		if reason == record.Unplugged {
			event, state = record.Lost, "unplugged"
		}
		s.log.Warn("source lost", "reason", reason, "err", err)
		if s.tick == 0 {
			s.tick = now.Mono
		}
		*o = outage{reason: reason, from: now, told: now, tick: s.tick}
		s.setState(state)
		s.say(ctx, &record.Record{Kind: record.Event, Event: event, Why: err.Error(), Time: now})
		return
	}
	if now.Mono-o.told.Mono >= gapEvery.Microseconds() {
		s.tell(ctx, now, now.Mono)
	}
}

// up notes that the source can be read.
func (s *Source) up(ctx context.Context) {
	o := &s.outage
	if o.reason != "" {
		now := s.o.Now()
		s.tell(ctx, now, s.tick-1)
		event := record.Back
		if o.reason == record.Unplugged {
			event = record.Plugged
		}
		s.log.Info("source back", "after", time.Duration(now.Mono-o.from.Mono)*time.Microsecond)
		o.reason = ""
		s.say(ctx, &record.Record{Kind: record.Event, Event: event, Time: now})
	}
	s.setState("ok")
}

// tell writes the gap of the outage up to now. All readings that were due up
// to last, in µs since boot, are missing.
func (s *Source) tell(ctx context.Context, now record.Time, last int64) {
	o := &s.outage
	count := int64(-1)
	if s.kind.way == polled {
		every := s.cfg.Every.Microseconds()
		count = max(1, (last-o.tick)/every+1)
		o.tick += count * every
		s.mu.Lock()
		s.lost[o.reason] += uint64(count)
		s.mu.Unlock()
	}
	s.say(ctx, &record.Record{Kind: record.Gap, Reason: o.reason, Count: count, From: o.told, To: now, Time: now})
	o.told = now
}

// say writes a record about the source itself.
func (s *Source) say(ctx context.Context, r *record.Record) {
	r.Source = s.cfg.Name
	r.Time = s.rising(r.Time)
	p := record.Append(nil, r)
	if s.mend() {
		if _, err := s.o.Sink.TryWrite(p); err == nil {
			return
		} else if s.kind.way == polled && errors.Is(err, s.o.Full) {
			if _, err := s.o.Sink.WriteContext(ctx, p); err == nil {
				return
			}
		}
	}
	if len(s.missing.held) < maxHeld {
		s.missing.held = append(s.missing.held, p)
		return
	}
	s.miss(r.Time)
}

// rising makes the times of the source rise by 1 µs at least.
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

// miss counts one record that found no room.
func (s *Source) miss(t record.Time) {
	m := &s.missing
	if m.n == 0 {
		m.from = t
	}
	m.n++
	m.to = t
	s.mu.Lock()
	s.lost[record.Overflow]++
	s.mu.Unlock()
}

// mend writes what waits for room, and reports whether all of it found some.
func (s *Source) mend() bool {
	m := &s.missing
	for len(m.held) > 0 {
		if _, err := s.o.Sink.TryWrite(m.held[0]); err != nil {
			return false
		}
		m.held = m.held[1:]
	}
	if m.n == 0 {
		return true
	}
	if _, err := s.o.Sink.TryWrite(s.overflow()); err != nil {
		return false
	}
	*m = missing{}
	return true
}

// overflow is the gap of what found no room.
func (s *Source) overflow() []byte {
	m := &s.missing
	return record.Append(nil, &record.Record{
		Kind: record.Gap, Source: s.cfg.Name, Reason: record.Overflow, Count: m.n, From: m.from, To: m.to, Time: s.rising(s.o.Now()),
	})
}

// finish writes what has to be said before the source ends.
func (s *Source) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if s.outage.reason != "" {
		now := s.o.Now()
		s.tell(ctx, now, now.Mono)
	}
	m := &s.missing
	for len(m.held) > 0 {
		if _, err := s.o.Sink.WriteContext(ctx, m.held[0]); err != nil {
			s.log.Error("not recorded", "err", err, "records", len(m.held), "readings", m.n)
			return
		}
		m.held = m.held[1:]
	}
	if m.n > 0 {
		if _, err := s.o.Sink.WriteContext(ctx, s.overflow()); err != nil {
			s.log.Error("not recorded", "err", err, "readings", m.n)
		}
	}
}

// reading judges the reading in s.rec and writes it.
func (s *Source) reading(ctx context.Context) {
	r := &s.rec
	r.Kind, r.Source = record.Reading, s.cfg.Name
	if r.Time == (record.Time{}) {
		r.Time = s.o.Now()
	}
	s.judge(r)
	r.Time = s.rising(r.Time)
	s.buf = s.encode(s.buf[:0], r)

	s.mu.Lock()
	s.newest = append(s.newest[:0], s.buf...)
	s.count++
	s.lastAt, s.seenAt = r.Time.At(), time.Now()
	if r.Quality == record.Bad {
		s.errors["bad"]++
	}
	s.mu.Unlock()

	if !s.stored.changed(s.cfg, r) {
		return
	}
	if !s.mend() && s.kind.way != polled {
		s.miss(r.Time)
		return
	}
	_, err := s.o.Sink.TryWrite(s.buf)
	if err != nil && s.kind.way == polled && errors.Is(err, s.o.Full) {
		_, err = s.o.Sink.WriteContext(ctx, s.buf)
	}
	if err != nil {
		s.miss(r.Time)
	}
}

// encode adds the binary form of r; one that is too long becomes bad and keeps
// the head of its text.
func (s *Source) encode(dst []byte, r *record.Record) []byte {
	dst = record.Append(dst, r)
	if len(dst) <= s.o.MaxRecord {
		return dst
	}
	var head string
	for _, f := range r.Fields {
		if f.Type == record.String && len(f.Text) > len(head) {
			head = f.Text
		}
	}
	r.Quality, r.Why = record.Bad, "too long"
	r.Fields = append(r.Fields[:0], record.Field{Name: "text", Type: record.String})
	bare := len(record.Append(dst[:0], r)) + 4
	r.Fields[0].Text = headOf(head, max(0, s.o.MaxRecord-bare))
	return record.Append(dst[:0], r)
}
