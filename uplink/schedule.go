package uplink

import (
	"time"

	"edgeagg/internal/config"
)

// farWindows is from when on the link is closed between windows, if nothing
// live goes over it.
const farWindows = 10 * time.Minute

// far reports whether the link is closed between windows.
func (u *Uplink) far() bool { return u.o.Config.Live == 0 && u.o.Config.Every > farWindows }

// waitsForClock reports whether history is held back because the clock may be
// set soon.
func (u *Uplink) waitsForClock() bool {
	return !u.o.Now().Set && time.Since(u.began) < u.o.Config.ClockWait
}

// inHours reports whether history and live values may go now.
func (u *Uplink) inHours() bool { return within(u.o.Config.Between, u.wall()) }

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
