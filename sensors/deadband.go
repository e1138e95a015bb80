package sensors

import (
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// stored is the last reading that was stored, for sources with a deadband.
type stored struct {
	at     int64 // µs since boot; 0: the next one is stored in any case
	fields []record.Field
}

// changed reports whether r has to be stored: always without a deadband, else
// when it is not good, a value moved by more than it, a text changed, or the
// heartbeat is due.
func (s *stored) changed(c *config.Source, r *record.Record) bool {
	if c.Deadband == 0 && c.Heartbeat == 0 {
		return true
	}
	same := s.at != 0 && r.Quality == record.Good && len(s.fields) == len(r.Fields)
	for i := 0; same && i < len(r.Fields); i++ {
		a, b := r.Fields[i], s.fields[i]
		x, number := a.Number()
		y, was := b.Number()
		switch {
		case a.Name != b.Name || number != was:
			same = false
		case number:
			same = x-y <= c.Deadband && y-x <= c.Deadband
		default:
			same = a == b
		}
	}
	due := c.Heartbeat > 0 && time.Duration(r.Time.Mono-s.at)*time.Microsecond >= c.Heartbeat
	if same && !due {
		return false
	}
	s.at = r.Time.Mono
	s.fields = append(s.fields[:0], r.Fields...)
	if r.Quality != record.Good {
		s.at = 0 // the next good one is a change
	}
	return true
}
