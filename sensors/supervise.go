package sensors

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"edgeagg/internal/record"
)

// How a source that cannot be read is tried again.
const (
	firstRetry = 100 * time.Millisecond
	plugRetry  = time.Second      // the longest wait for a device that is unplugged
	failRetry  = 30 * time.Second // the longest wait for one that fails
	steady     = 10 * time.Second // a session that lasted so long ends the back-off; so does any reading before an unplug
	renewAfter = time.Hour        // a polled device is opened anew so often: it may be another one by then
)

var errBusy = errors.New("an earlier call has not returned yet")

// run keeps the source alive until ctx ends.
func (s *Source) run(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		began, before := time.Now(), s.count
		err := s.session(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if s.kind.way == polled && s.outage.reason == "" && !s.again && s.busy == nil {
			s.again = true // once more, with the device opened anew
			continue
		}
		s.again = false
		s.down(ctx, err)
		longest := failRetry
		if s.outage.reason == record.Unplugged {
			longest = plugRetry
		}
		if time.Since(began) > steady || longest == plugRetry && s.count > before {
			wait = firstRetry
		}
		if s.scheduled() {
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

// session opens the device and reads it until that fails; no error means that
// it is to be opened anew.
func (s *Source) session(ctx context.Context) error {
	if s.busy != nil {
		select {
		case <-s.busy:
			s.busy = nil
		default:
			return errBusy
		}
	}
	var d driver // the hand's until it is open
	h := newHand(s.log)
	defer func() {
		s.busy = h.leave(func() error {
			if d == nil {
				return nil
			}
			if err := d.Close(); err != nil {
				s.log.Debug("close", "err", err)
			}
			return nil
		})
	}()
	err := s.bounded(ctx, h, max(s.cfg.Timeout, leastOpening), func() (err error) {
		d, err = s.kind.open(s.cfg, s.o)
		return err
	})
	if err != nil {
		return err
	}
	switch s.kind.way {
	case sends:
		return s.listen(ctx, h, d.(stream))
	case counted:
		return s.keepRate(ctx, d)
	}
	return s.poll(ctx, h, d)
}

// bounded has the hand call f, and counts a call that is left alone.
func (s *Source) bounded(ctx context.Context, h *hand, limit time.Duration, f func() error) error {
	err := h.do(ctx, limit, f)
	if errors.As(err, new(stuckError)) {
		s.add(&s.abandon, 1)
	}
	return err
}

// finish writes what has to be said before the source ends.
func (s *Source) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*grace)
	defer cancel()
	if s.outage.reason != "" {
		now := s.o.Now()
		s.tell(ctx, now, now.Mono)
	}
	if err := s.settle(ctx, s.o.Sink.WriteContext); err != nil {
		s.log.Error("not recorded", "err", err, "records", len(s.missing.held), "readings", s.missing.n)
	}
}
