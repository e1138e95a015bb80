package uplink

import (
	"sync"
	"time"

	"edgeagg/internal/config"
)

// day counts the bytes sent since local midnight.
type day struct {
	mu   sync.Mutex
	date string
	n    int64
}

func (d *day) roll(now time.Time) {
	if date := now.Format(time.DateOnly); date != d.date {
		d.date, d.n = date, 0
	}
}

func (d *day) add(now time.Time, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll(now)
	d.n += n
}

func (d *day) sent(now time.Time) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll(now)
	return d.n
}

// spent is how long nothing may be sent any more: 0 while limit, if any, is
// not reached.
func (d *day) spent(now time.Time, limit int64) time.Duration {
	if limit == 0 || d.sent(now) < limit {
		return 0
	}
	y, m, dd := now.Date()
	return time.Date(y, m, dd+1, 0, 0, 1, 0, now.Location()).Sub(now)
}

// within reports whether now is in one of the spans, by local wall time: what
// a change of summer time skips or repeats is skipped or repeated here too.
func within(spans []config.Span, now time.Time) bool {
	if len(spans) == 0 {
		return true
	}
	at := now.Hour()*60 + now.Minute()
	for _, s := range spans {
		if s.From < s.To && at >= s.From && at < s.To || s.From >= s.To && (at >= s.From || at < s.To) {
			return true
		}
	}
	return false
}
