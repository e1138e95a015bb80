package config

import (
	"fmt"
	"net"
	"strings"
	"time"
)

// senml are the unit names of SenML: RFC 8428 section 12.1, the secondary
// units of RFC 8798 section 3, and later entries of that registry.
const senml = " m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s m/s2 m3/s l/s W/m2 cd/m2 bit bit/s lat lon pH dB dBW Bspl count / %RH %EL EL 1/s 1/min beat/min beats S/m B VA VAs var vars J/m kg/m3 deg NTU" +
	" ms min h MHz kW kVA kvar Ah Wh kWh varh kvarh kVAh Wh/km KiB GB Mbit/s B/s MB/s mV mA dBm ug/m3 mm/h m/h ppm /100 /1000 hPa mm cm km km/h ppb ppt VAh mg/l ug/l g/l "

// What the estimates of wear and volume stand on.
const (
	smallCard  = 8 << 30 // bytes
	eraseCount = 1000    // cycles that cheap TLC flash is made for
	syncBytes  = 16 << 10
	recordJSON = 160 // bytes of a usual record in a history message
	yearly     = 365 * 24 * time.Hour
)

// warn finds what is legal and probably not meant.
func warn(c *Config, root *node) (w []Problem) {
	add := func(n *node, format string, args ...any) {
		w = append(w, Problem{n.file, n.line, fmt.Sprintf(format, args...)})
	}
	perSecond := 0.0
	for i, n := range root.get("source").items {
		s := &c.Sources[i]
		for _, f := range append(s.Fields, s.Field) {
			if f.Unit != "" && !strings.Contains(senml, " "+f.Unit+" ") {
				add(place(n, "fields", place(n, "field", n)), "source %q: unit %q of %s is no SenML unit (RFC 8428); it is kept as it is", s.Name, f.Unit, f.Name)
			}
		}
		if s.Every > 0 {
			perSecond += 1 / s.Every.Seconds()
		}
	}
	up := root.get("uplink")
	for _, u := range c.Uplink.Brokers {
		ip := net.ParseIP(u.Hostname())
		local := ip != nil && ip.IsLoopback() || u.Hostname() == "localhost"
		if c.Uplink.Username != "" && !local && (u.Scheme == "mqtt" || u.Scheme == "ws") {
			add(place(up, "broker", root), "uplink.broker %s: the password goes over the network in the clear; use mqtts", u.Redacted())
		}
	}
	if len(c.Uplink.Brokers) > 0 {
		need := perSecond * recordJSON
		if c.Uplink.Gzip {
			need /= 7
		}
		if b := c.Uplink.MaxBytes; b > 0 {
			if have := float64(b) / c.Uplink.Every.Seconds(); have < need {
				add(place(up, "max_bytes", root), "uplink: the sources can yield %.0f bytes/s (%.3g readings/s of about %d bytes), and max_bytes each every lets %.0f bytes/s through: the backlog will grow", need, perSecond, recordJSON, have)
			}
		}
		if b := c.Uplink.MaxBytesDay; b > 0 && float64(b) < need*86400 {
			add(place(up, "max_bytes_day", root), "uplink: the sources can yield %.0f bytes a day, and max_bytes_day lets %d through: the backlog will grow", need*86400, b)
		}
		if c.Uplink.ClockWait == 0 && c.Clock != "trust" {
			add(place(up, "clock_wait", root), "uplink.clock_wait = \"0s\": history goes out before the clock is set, with clock \"unset\"")
		}
	}
	if syncs := float64(yearly / c.Journal.Sync); perSecond > 0 {
		syncs = min(syncs, perSecond*yearly.Seconds())
		if years := smallCard * float64(eraseCount) / (syncs * syncBytes); years < 5 {
			add(place(root.get("journal"), "sync", root), "journal.sync = %v: %.0f syncs a year of about %d bytes each wear a card of 8 GB (%d erase cycles) out in %.1f years", c.Journal.Sync, syncs, syncBytes, eraseCount, years)
		}
	}
	return w
}
