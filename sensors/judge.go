package sensors

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// judge lowers the quality of a reading whose values cannot be right.
func (s *Source) judge(r *record.Record) {
	bad := func(why string) {
		if r.Quality != record.Bad {
			r.Quality, r.Why = record.Bad, why
		}
	}
	units := s.kind.fields(s.cfg)
	kept := r.Fields[:0]
	for _, f := range r.Fields {
		if !f.Finite() {
			bad(f.Name + " is not finite")
			continue
		}
		if f.Type == record.String && !utf8.ValidString(f.Text) {
			bad("not UTF-8")
			f.Text = strings.ToValidUTF8(f.Text, "�")
		}
		v, number := f.Number()
		if !number && f.Type == record.String {
			for _, u := range units {
				if u.Name == f.Name && u.Unit != "" {
					bad(f.Name + " is not a number")
				}
			}
		}
		if number && s.cfg.Min != nil && v < *s.cfg.Min {
			bad(fmt.Sprintf("%s below min", f.Name))
		}
		if number && s.cfg.Max != nil && v > *s.cfg.Max {
			bad(fmt.Sprintf("%s above max", f.Name))
		}
		kept = append(kept, f)
	}
	r.Fields = kept
}

// stored is the last reading that was stored, for sources with a deadband.
type stored struct {
	at     int64 // µs since boot; 0: none
	fields []record.Field
}

// changed reports whether r has to be stored: always without a deadband, else
// when a value moved by more than it, a text changed, or the heartbeat is due.
func (s *stored) changed(c *config.Source, r *record.Record) bool {
	if c.Deadband == 0 && c.Heartbeat == 0 {
		return true
	}
	same := s.at != 0 && r.Quality == record.Good && len(s.fields) == len(r.Fields)
	for i := 0; same && i < len(r.Fields); i++ {
		a, b := r.Fields[i], s.fields[i]
		x, number := a.Number()
		y, _ := b.Number()
		switch {
		case a.Name != b.Name || a.Type != b.Type:
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

// headOf is the front of s, n bytes at most, cut between characters.
func headOf(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
