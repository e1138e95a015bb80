package config

import (
	"regexp"
	"strings"
)

// Identity is what the placeholders of a device stand for; "" where the board
// has none.
type Identity struct{ Hostname, Serial, MAC string }

// A word in braces and what it stands for.
type word struct{ name, value string }

func (d *decoder) identity() []word {
	return []word{{"hostname", d.id.Hostname}, {"serial", d.id.Serial}, {"mac", d.id.MAC}}
}

// maxDevice is the longest name of a device, in bytes.
const maxDevice = 128

// device fills in the name of the board.
func (d *decoder) device(c *Config) {
	at := d.place(d.files.root, "device")
	if c.Device == "" {
		c.Device = "{hostname}"
		if tail := lastFour(d.id.Serial, d.id.MAC); tail != "" {
			c.Device += "-" + tail
		}
	}
	before := len(d.problems)
	c.Device = d.fill(at, "device", c.Device, d.identity())
	if len(d.problems) == before && !level(c.Device, maxDevice) {
		d.bad(at, "device = %s: expected a name without /, + and #, of 1 to %d bytes", quote(c.Device), maxDevice)
	}
	if len(d.problems) > before {
		c.Device = "device" // once is enough: the topics that it is part of may be right
	}
}

// lastFour is the end of the first of names that is there, without what stands
// between letters and digits.
func lastFour(names ...string) string {
	for _, s := range names {
		s = between.ReplaceAllString(s, "")
		if s != "" {
			return s[max(0, len(s)-4):]
		}
	}
	return ""
}

var (
	between     = regexp.MustCompile(`[^0-9A-Za-z]+`)
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
)

// fill puts values in the place of {words}.
func (d *decoder) fill(n *node, path, s string, words []word) string {
	wrong := ""
	filled := placeholder.ReplaceAllStringFunc(s, func(p string) string {
		var known []string
		for _, w := range words {
			if p != "{"+w.name+"}" {
				known = append(known, "{"+w.name+"}")
				continue
			}
			if w.value == "" {
				wrong = "this board has no " + w.name
			}
			return w.value
		}
		wrong = "expected no braces but " + strings.Join(known, ", ")
		return p
	})
	if wrong != "" {
		d.bad(n, "%s = %s: %s", path, quote(s), wrong)
	}
	return filled
}
