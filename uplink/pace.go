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

// overhead is what a message costs beside its payload and topic: MQTT's own
// bytes, here rounded up.
const overhead = 16

// fits bounds the size of the next message; 0 when the budget is spent.
func (b *budget) fits(most, topic int) int {
	if b.left < 0 {
		return most
	}
	return int(max(0, min(int64(most), b.left-int64(topic)-overhead)))
}

// take counts a message.
func (b *budget) take(n int) {
	if b.left >= 0 {
		b.left = max(0, b.left-int64(n)-overhead)
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
