package uplink

import (
	"context"
	"time"

	"edgeagg/internal/config"
)

// budget is what one window may send.
type budget struct {
	left  int64 // bytes; below 0: no bound
	rate  int64 // bytes/s; 0: no bound
	ready time.Time
}

func newBudget(c *config.Uplink, today int64) *budget {
	b := &budget{left: -1, rate: c.Rate, ready: time.Now()}
	if c.MaxBytes > 0 {
		b.left = c.MaxBytes
	}
	if c.MaxBytesDay > 0 {
		// What live and status still need has priority over the backlog.
		today := max(0, c.MaxBytesDay-today-4<<10)
		if b.left < 0 || today < b.left {
			b.left = today
		}
	}
	return b
}

func (b *budget) spent() bool { return b.left == 0 }

// take counts a message. The last one may go over the bound by its own size
// less a byte.
func (b *budget) take(n int) {
	if b.left > 0 {
		b.left = max(0, b.left-int64(n))
	}
	if b.rate > 0 {
		if now := time.Now(); b.ready.Before(now) {
			b.ready = now
		}
		b.ready = b.ready.Add(time.Duration(float64(n) / float64(b.rate) * float64(time.Second)))
	}
}

// pace waits until the rate allows another message.
func (b *budget) pace(ctx context.Context, c *conn) error {
	wait := time.Until(b.ready)
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.lost:
		return c.why
	case <-ctx.Done():
		return ctx.Err()
	}
}
