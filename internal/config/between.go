package config

import (
	"strings"
	"time"
)

// spans takes hours of the day like "01:00-05:00".
func spans(to *[]Span) func(*value) {
	return func(v *value) {
		*to = nil
		for _, n := range v.strings(false) {
			s, ok := parseSpan(n.text)
			if !ok {
				v.of(n).expected("local times, for example \"01:00-05:00\"")
				continue
			}
			*to = append(*to, s)
		}
	}
}

func parseSpan(s string) (Span, bool) {
	from, to, _ := strings.Cut(s, "-")
	a, ok := minute(strings.TrimSpace(from))
	b, ok2 := minute(strings.TrimSpace(to))
	if !ok || !ok2 || a == b || a == day {
		return Span{}, false
	}
	return Span{a, b % day}, true
}

const day = 24 * 60 // minutes

// minute is a time of the day in minutes; 24:00 is the end of the day.
func minute(s string) (int, bool) {
	if s == "24:00" {
		return day, true
	}
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil && len(s) == len("15:04")
}

// open is how many minutes of a day the spans allow; none: all.
func open(spans []Span) int {
	if len(spans) == 0 {
		return day
	}
	var in [day]bool
	n := 0
	for _, s := range spans {
		for m := s.From; ; {
			if !in[m] {
				in[m] = true
				n++
			}
			if m = (m + 1) % day; m == s.To {
				break
			}
		}
	}
	return n
}
