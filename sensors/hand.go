package sensors

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

const (
	// grace is how long a call may go on when the program ends.
	grace = 250 * time.Millisecond
	// leastOpening is the least time that opening a device may take.
	leastOpening = time.Second
)

// A hand makes the calls of one driver, which may hang, one after the other in
// a goroutine of its own.
type hand struct {
	calls chan func() error
	done  chan error
	gone  chan struct{} // closed when the goroutine ends
	timer *time.Timer
}

// stuckError says that a call did not return in time.
type stuckError struct{ limit time.Duration }

func (e stuckError) Error() string { return fmt.Sprintf("no answer within %v", e.limit) }

func newHand(log *slog.Logger) *hand {
	h := &hand{calls: make(chan func() error, 2), done: make(chan error, 2), gone: make(chan struct{}), timer: time.NewTimer(time.Hour)}
	go func() {
		defer close(h.gone)
		for f := range h.calls {
			h.done <- guard(log, f)
		}
	}()
	return h
}

// do calls f and waits for it, limit at most, and only a moment longer than
// ctx. After an error of its own, a stuckError or ctx's, f may still be
// running, and only leave may follow.
func (h *hand) do(ctx context.Context, limit time.Duration, f func() error) error {
	h.calls <- f
	h.timer.Reset(limit)
	defer h.timer.Stop()
	select {
	case err := <-h.done:
		return err
	case <-h.timer.C:
		return stuckError{limit}
	case <-ctx.Done():
	}
	h.timer.Reset(grace)
	select {
	case err := <-h.done:
		return err
	case <-h.timer.C:
		return ctx.Err()
	}
}

// leave has last called behind all else, and ends the hand. It gives nil when
// that was done, else a channel that is closed when it will be.
func (h *hand) leave(last func() error) (pending <-chan struct{}) {
	h.calls <- last
	close(h.calls)
	h.timer.Reset(grace)
	defer h.timer.Stop()
	select {
	case <-h.gone:
		return nil
	case <-h.timer.C:
		return h.gone
	}
}

// guard calls f and turns its panic into an error.
func guard(log *slog.Logger, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			log.Error("panic", "err", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return f()
}
