package uplink

import (
	"math"
	"sync"
	"time"

	"edgeagg/internal/config"
)

// budget is what one window may send of history.
type budget struct {
	left  int64 // bytes of payload
	rate  int64 // bytes/s; 0: no bound
	ready time.Time
	sent  bool // a message at least
}

func newBudget(c *config.Uplink) *budget {
	b := &budget{left: math.MaxInt64, rate: c.Rate}
	if c.MaxBytes > 0 {
		b.left = c.MaxBytes
	}
	return b
}

// room is how big the next message may be, if most is what else bounds it and
// day what is left of the day. A window's first message may be bigger than the
// window, or nothing would ever go.
func (b *budget) room(most int, day int64) int {
	if b.sent {
		day = min(day, b.left)
	}
	return int(max(0, min(int64(most), day)))
}

// take counts a message.
func (b *budget) take(n int, now time.Time) {
	b.sent = true
	b.left -= int64(n)
	if b.rate > 0 {
		if b.ready.Before(now) {
			b.ready = now
		}
		b.ready = b.ready.Add(time.Duration(float64(n) / float64(b.rate) * float64(time.Second)))
	}
}

// wait is how long the rate keeps the next message back.
func (b *budget) wait(now time.Time) time.Duration { return max(0, b.ready.Sub(now)) }

// day counts the bytes sent since local midnight, and holds their bound.
type day struct {
	wall  func() time.Time
	limit int64 // 0: none

	mu     sync.Mutex
	date   string
	n      int64
	flying int64 // of history, part of which may not be counted yet
	full   bool
}

const (
	// lastWords is kept for a goodbye.
	lastWords = 512
	// around is what a publish adds to topic and payload, at most, with TLS.
	around = 64
)

func (d *day) roll() {
	if date := d.wall().Format(time.DateOnly); date != d.date {
		d.date, d.n, d.full = date, 0, false
	}
}

func (d *day) add(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll()
	d.n += n
}

func (d *day) sent() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll()
	return d.n
}

// fly notes n bytes more of history on their way; less when they have landed.
func (d *day) fly(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flying += int64(n)
}

// takes reports whether n bytes more may be sent beside history. If not, and
// not only for what flies, the day is over.
func (d *day) takes(n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll()
	if d.limit == 0 {
		return true
	}
	after := d.n + int64(n) + lastWords
	d.full = d.full || after > d.limit
	return !d.full && after+d.flying <= d.limit
}

// over is how long nothing may be sent any more; 0 while the day is not over.
func (d *day) over() time.Duration {
	d.takes(0)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.full {
		return 0
	}
	now := d.wall()
	y, m, dd := now.Date()
	return time.Date(y, m, dd+1, 0, 0, 1, 0, now.Location()).Sub(now)
}

// history is what history may still take of the day. A sixteenth is left to
// what is live.
func (d *day) history() int64 {
	if d.limit == 0 {
		return math.MaxInt64
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll()
	return d.limit - d.limit/16 - lastWords - d.n - d.flying
}
