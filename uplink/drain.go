package uplink

import (
	"context"
	"errors"
	"time"
)

// Drain opens a window: what is synced by now goes out, as far as the budget
// lets it. It returns when all of that is acknowledged, the connection is
// lost, or ctx ends. While another window is open it waits for that first. A
// window that finds no connection, or loses it, goes on over the next one.
func (u *Uplink) Drain(ctx context.Context) {
	if !u.enter(ctx) {
		return
	}
	defer u.exit()
	u.send.open()
	u.drain(ctx)
}

// resume goes on with the window that found no connection or lost it.
func (u *Uplink) resume(ctx context.Context) {
	if !u.enter(ctx) {
		return
	}
	defer u.exit()
	if u.send.budget == nil {
		u.send.open()
	}
	u.drain(ctx)
}

// enter takes the window; there is one.
func (u *Uplink) enter(ctx context.Context) bool {
	select {
	case u.window <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (u *Uplink) exit() { <-u.window }

func (u *Uplink) drain(ctx context.Context) {
	s := &u.send
	for s.ahead() && u.inHours() && !u.waitsForClock() {
		c := u.reach(ctx)
		if c == nil {
			return
		}
		err := s.window(ctx, c)
		if err == nil || errors.Is(err, errCard) {
			break
		}
		if ctx.Err() != nil {
			return
		}
		u.due.Store(true)
		if next, _ := u.current(); next == nil || next == c || !u.due.Swap(false) {
			return // whoever connects goes on
		}
	}
	if c, _ := u.current(); c != nil && u.far() {
		select {
		case u.sleep <- struct{}{}:
		default:
		}
	}
}

// reach gives the connection; between far windows it asks for one.
func (u *Uplink) reach(ctx context.Context) *conn {
	c, ready := u.current()
	if c != nil {
		return c
	}
	u.due.Store(true)
	if !u.far() {
		return nil // the next connection goes on with the window
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

// errCard ends a window, not the connection.
var errCard = errors.New("the card does not give back what is to be sent")
