package config

import (
	"fmt"
	"slices"
	"strings"
)

// What the estimates stand on.
const (
	smallCard  = 8 << 30  // bytes
	cycles     = 1000     // erase cycles of cheap TLC flash
	syncBytes  = 16 << 10 // a small fsync on ext4: a page of data, three of its journal
	shortLife  = 5        // years
	ownPace    = 1.0      // readings/s of a device that sends by itself, where no `every` says
	gzipFactor = 4        // how much smaller gzip makes a history message
	statusSize = 2 << 10  // bytes of a status message
	liveSize   = 200      // bytes of a live message
	secondsDay = 24 * 60 * 60
)

// warn finds what is legal and probably not meant. nodes are those of
// c.Sources.
func (d *decoder) warn(c *Config, nodes []*node) (w []Problem) {
	add := func(n *node, format string, args ...any) {
		w = append(w, Problem{n.file, n.line, fmt.Sprintf(format, args...)})
	}
	if len(c.Sources) == 0 {
		add(d.files.root, "no [[source]]: there is nothing to record")
	}
	for i, n := range nodes {
		s := &c.Sources[i]
		for at, f := range configured(s, n) {
			if ok, meant := senmlUnit(f.Unit); !ok {
				hint := ""
				if meant != "" {
					hint = fmt.Sprintf(" (did you mean %s?)", meant)
				}
				add(at, "source %q: unit %q of %s is not a SenML name%s; it is kept as it is", s.Name, f.Unit, f.Name, hint)
			}
		}
		if mixed := unitsOf(s); len(mixed) > 1 && (s.Min != nil || s.Max != nil) {
			at := n.get("min")
			if at == nil {
				at = n.get("max")
			}
			add(at, "source %q: min and max hold for all its values alike, in %s", s.Name, strings.Join(mixed, ", "))
		}
		if strings.HasPrefix(s.Port, "usb:") {
			add(n.get("port"), "source %q: port = %q: this version finds no ports by usb: yet; use by-id: with a name in /dev/serial/by-id", s.Name, s.Port)
		}
	}
	up := d.files.root.get("uplink")
	for _, u := range c.Uplink.Brokers {
		if c.Uplink.PasswordFile != "" && !loopback(u.Hostname()) && (u.Scheme == "mqtt" || u.Scheme == "ws") {
			add(d.place(up, "broker"), "uplink.broker = %q: the password goes over the network for all to read; use %ss", u, u.Scheme)
		}
	}
	if len(c.Uplink.Brokers) > 0 {
		key, says := shortfall(c)
		if says != "" {
			add(d.place(up, key), "%s", says)
		}
		if c.Uplink.ClockWait == 0 && c.Clock != "trust" {
			add(d.place(up, "clock_wait"), "uplink.clock_wait = \"0s\": after each boot, history goes out with wrong times until the clock is set")
		}
	}
	if says := wear(c); says != "" {
		add(d.place(d.files.root.get("journal"), "sync"), "%s", says)
	}
	return w
}

// configured yields the fields with a unit that a source's configuration
// names, and where.
func configured(s *Source, n *node) func(yield func(*node, Field) bool) {
	return func(yield func(*node, Field) bool) {
		for i, f := range s.Fields {
			if f.Unit != "" && !yield(n.get("fields").items[i], f) {
				return
			}
		}
		if s.Field.Unit != "" {
			yield(n.get("field"), s.Field)
		}
	}
}

// measured are the fields of a source as far as they are known.
func measured(s *Source) []Field {
	switch {
	case s.Field.Name != "":
		return []Field{s.Field}
	case len(s.Fields) > 0:
		return s.Fields
	}
	return kinds[s.Kind].fields
}

// unitsOf are the different units of a source.
func unitsOf(s *Source) (units []string) {
	for _, f := range measured(s) {
		if f.Unit != "" && !slices.Contains(units, f.Unit) {
			units = append(units, f.Unit)
		}
	}
	return units
}

// pace is how many readings/s a source yields.
func pace(s *Source) float64 {
	if s.Every == 0 {
		return ownPace
	}
	return 1 / s.Every.Seconds()
}

// jsonSize is about how many bytes a reading takes in a history message.
func jsonSize(s *Source) float64 {
	const frame = `{"seq":1000000,"time":"2026-11-23T10:00:00.123456Z","source":"","fields":{}},`
	n := len(frame) + len(s.Name)
	for _, f := range measured(s) {
		n += len(f.Name) + len(`"":123.45,`)
	}
	if len(measured(s)) == 0 {
		n += 40 // a line of text, or values whose names only the device knows
	}
	return float64(n)
}

// shortfall says whether the schedule carries less in a day than the sources
// yield, and which key is the tightest.
func shortfall(c *Config) (key, says string) {
	u := &c.Uplink
	readings, history, live := 0.0, 0.0, 0.0 // a second
	for i := range c.Sources {
		s := &c.Sources[i]
		readings += pace(s)
		history += pace(s) * jsonSize(s)
		if u.Live > 0 {
			live += min(pace(s), 1/u.Live.Seconds()) * liveSize
		}
	}
	if u.Gzip {
		history /= gzipFactor
	}
	seconds := float64(open(u.Between)) * 60
	history *= secondsDay
	carries := history
	least := func(name string, bound int64, bytes float64) {
		if bound > 0 && bytes < carries {
			key, carries = name, max(0, bytes)
		}
	}
	least("max_bytes", u.MaxBytes, float64(u.MaxBytes)*max(1, seconds/u.Every.Seconds()))
	least("rate", u.Rate, float64(u.Rate)*seconds)
	least("max_bytes_day", u.MaxBytesDay, float64(u.MaxBytesDay)-live*seconds-statusSize*secondsDay/u.Status.Seconds())
	if key == "" {
		return "", ""
	}
	return key, fmt.Sprintf("uplink.%s: the sources yield about %s a day (%.3g readings/s), and the schedule carries %s: the backlog grows until the card drops the oldest", key, about(history), readings, about(carries))
}

// about is a size as a person would say it.
func about(bytes float64) string {
	for i := 2; i >= 0; i-- {
		if n := bytes / float64(sizes[i].bytes); n >= 1 {
			return fmt.Sprintf("%.3g %s", n, sizes[i].name)
		}
	}
	return fmt.Sprintf("%.0f bytes", bytes)
}

// wear says whether a few years of syncs wear a small card out. A sync is made
// only when there is something new.
func wear(c *Config) string {
	perSecond := 0.0
	for i := range c.Sources {
		if s := &c.Sources[i]; s.Every == 0 {
			perSecond = 1 / c.Journal.Sync.Seconds() // it may send all the time
		} else {
			perSecond += pace(s)
		}
	}
	perSecond = min(perSecond, 1/c.Journal.Sync.Seconds())
	syncs := perSecond * 365 * secondsDay
	years := smallCard * cycles / (syncs * syncBytes)
	if syncs == 0 || years >= shortLife {
		return ""
	}
	return fmt.Sprintf("journal.sync = %q: up to %.0f million syncs a year of %s each wear a card of %s (%d erase cycles) out in %.1f years", c.Journal.Sync, syncs/1e6, showSize(syncBytes), showSize(int64(smallCard)), cycles, years)
}
