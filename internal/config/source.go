package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A shape is what a kind of source, or a frame of a serial one, takes and needs.
type shape struct {
	keys    []string      // beside those that every source takes
	needs   []string      // those without which it cannot be
	every   time.Duration // the default; 0: the device sends by itself
	fastest time.Duration // the least every
	fields  []Field       // what it measures, where that is not configured
}

const fastest = 10 * time.Millisecond

// kinds are the kinds of source that this version has. Another one is a line
// here and one in package sensors.
var kinds = map[string]shape{
	"bme280": {
		keys: []string{"bus", "address"}, needs: []string{"bus"}, every: 10 * time.Second, fastest: fastest,
		fields: []Field{{"temperature", "Cel"}, {"humidity", "%RH"}, {"pressure", "Pa"}},
	},
	"file": {
		keys: []string{"path", "scale", "field"}, needs: []string{"path", "field"}, every: 10 * time.Second, fastest: fastest,
	},
	"serial": {
		keys:  []string{"port", "baud", "data_bits", "parity", "stop_bits", "frame", "start", "poll"},
		needs: []string{"port"}, fastest: fastest,
	},
	"simulate": {
		keys: []string{"fields"}, needs: []string{"fields"}, every: time.Second, fastest: time.Millisecond,
	},
}

// frames are the ways to cut what a serial port sends into readings that this
// version has.
var frames = map[string]shape{
	"line": {keys: []string{"delimiter", "max_line", "parse", "pattern", "fields"}},
}

// source decodes one [[source]].
func (d *decoder) source(n *node) Source {
	s := Source{
		Line: n.line, Timeout: 3 * time.Second, Address: 0x76,
		Baud: 9600, DataBits: 8, Parity: "none", StopBits: 1,
		Frame: "line", MaxLine: 4 << 10, Parse: "text", Scale: 1,
	}
	path := "source:"
	if name := n.get("name"); name != nil && name.kind == stringKind {
		path = fmt.Sprintf("source %s:", quote(name.text))
	}
	sh, known := d.shape(n, path)
	s.Every = sh.every
	delimiter := "\n"
	common := []key{
		{"name", text(&s.Name)},
		{"kind", checked(&s.Kind)},
		{"every", duration(&s.Every, sh.fastest, forever, "")},
		{"timeout", duration(&s.Timeout, time.Millisecond, time.Hour, "")},
		{"min", limit(&s.Min)},
		{"max", limit(&s.Max)},
		{"deadband", number(&s.Deadband)},
		{"heartbeat", duration(&s.Heartbeat, time.Millisecond, forever, "")},
		{"stale", duration(&s.Stale, time.Millisecond, forever, "never")},
		{"required", boolean(&s.Required)},
	}
	special := []key{
		{"bus", text(&s.Bus)},
		{"address", address(&s.Address)},
		{"port", port(&s.Port)},
		{"baud", whole(&s.Baud, 50, 4_000_000, "9600")},
		{"data_bits", whole(&s.DataBits, 5, 8, "8")},
		{"parity", oneOf(&s.Parity, "none", "odd", "even", "mark", "space")},
		{"stop_bits", stopBits(&s.StopBits)},
		{"frame", checked(&s.Frame)},
		{"delimiter", raw(&delimiter)},
		{"max_line", size(&s.MaxLine, 16, 64<<10, "")},
		{"parse", oneOf(&s.Parse, "text", "csv", "json", "kv", "regexp")},
		{"pattern", pattern(&s.Pattern)},
		{"fields", fields(&s.Fields)},
		{"start", raw(&s.Start)},
		{"poll", raw(&s.Poll)},
		{"path", text(&s.Path)},
		{"scale", number(&s.Scale)},
		{"field", field(&s.Field)},
	}
	taken := common
	for _, k := range special {
		if slices.Contains(sh.keys, k.name) {
			taken = append(taken, k)
		}
	}
	d.section(n, path, taken, func(name string) (why string, passed bool) {
		if known && slices.ContainsFunc(special, func(k key) bool { return k.name == name }) {
			why = fmt.Sprintf("does not belong to kind %s", s.Kind)
		}
		return why, !known // what an unknown kind takes is not known either
	})
	s.Delimiter = []byte(delimiter)
	if known {
		d.checkSource(n, path, &s, sh)
	} else if n.get("name") == nil && !n.torn {
		d.bad(n, "%s name is missing", path)
	}
	return s
}

// shape finds what the kind of source, and its frame, takes and needs; known
// is false, and why was told, if this version does not have it.
func (d *decoder) shape(n *node, path string) (sh shape, known bool) {
	k := n.get("kind")
	if k == nil {
		if !n.torn {
			d.bad(n, "%s kind is missing: expected one of %s", path, names(kinds))
		}
		return shape{fastest: time.Millisecond}, false
	}
	sh, known = kinds[k.text]
	if !known || k.kind != stringKind {
		d.bad(k, "%s kind = %s: not in this version; it has %s", path, k.show(), names(kinds))
		return shape{fastest: time.Millisecond}, false
	}
	if !slices.Contains(sh.keys, "frame") {
		return sh, true
	}
	frame := "line"
	if f := n.get("frame"); f != nil {
		frame = f.text
		if _, ok := frames[frame]; !ok || f.kind != stringKind {
			d.bad(f, "%s frame = %s: not in this version; it has %s", path, f.show(), names(frames))
			return sh, false
		}
	}
	f := frames[frame]
	sh.keys = slices.Concat(sh.keys, f.keys)
	sh.needs = slices.Concat(sh.needs, f.needs)
	return sh, true
}

// checked takes what shape has checked.
func checked(to *string) func(*value) {
	return func(v *value) { *to = v.text }
}

func names(m map[string]shape) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}

// maxName is the longest name of a source, in bytes: a level of a topic, a
// label of a metric, and in each record.
const maxName = 64

// checkSource finds what is missing and what contradicts, and fills in what
// depends on other keys.
func (d *decoder) checkSource(n *node, path string, s *Source, sh shape) {
	if name := n.get("name"); name != nil && name.kind == stringKind && !level(name.text, maxName) {
		d.bad(name, "source: name = %s: expected a name without /, + and #, of 1 to %d bytes", quote(name.text), maxName)
	}
	for _, need := range append([]string{"name"}, sh.needs...) {
		v := n.get(need)
		if v == nil && !n.torn {
			d.bad(n, "%s %s is missing", path, need)
		} else if v != nil && v.kind == stringKind && v.text == "" && need != "name" {
			d.bad(v, "%s %s is empty", path, need)
		}
	}
	if s.Min != nil && s.Max != nil && *s.Min >= *s.Max {
		d.bad(n.get("min"), "%s min = %v: expected less than max, which is %v", path, *s.Min, *s.Max)
	}
	if s.Deadband < 0 {
		d.bad(n.get("deadband"), "%s deadband = %v: expected no negative number", path, s.Deadband)
	}
	if slices.Contains(sh.keys, "port") {
		d.checkSerial(n, path, s)
	}
	if n.get("stale") == nil {
		s.Stale = 3 * s.Every
	}
}
