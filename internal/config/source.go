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
	keys   []string      // beside those that every source takes
	needs  []string      // of these, the ones without which it cannot be
	every  time.Duration // the default; 0: it sends by itself
	atMost time.Duration // least every that is allowed
}

// kinds are the kinds of source that this version has.
var kinds = map[string]shape{
	"bme280":   {keys: []string{"bus", "address"}, every: 10 * time.Second},
	"file":     {keys: []string{"path", "scale", "field"}, needs: []string{"path", "field"}, every: 10 * time.Second},
	"serial":   {keys: []string{"port", "baud", "data_bits", "parity", "stop_bits", "frame", "start", "poll"}, needs: []string{"port"}},
	"simulate": {keys: []string{"fields"}, needs: []string{"fields"}, every: time.Second, atMost: time.Millisecond},
}

// frames are the ways to cut a serial port's bytes into readings that this version has.
var frames = map[string]shape{
	"line": {keys: []string{"delimiter", "max_line", "parse", "pattern", "fields"}},
}

// source decodes one [[source]].
func (d *decoder) source(n *node) Source {
	s := Source{
		Line: n.line, Address: 0x76, Bus: "/dev/i2c-1",
		Baud: 9600, DataBits: 8, Parity: "none", StopBits: 1,
		Frame: "line", MaxLine: 4 << 10, Parse: "text", Scale: 1,
	}
	path := "source:"
	if name := n.get("name"); name != nil && name.kind == stringKind {
		path = fmt.Sprintf("source %q:", name.text)
	}
	sh, known := shape{}, false
	if k := n.get("kind"); k == nil {
		d.bad(n, "%s kind is missing: expected one of %s", path, names(kinds))
	} else if sh, known = kinds[k.text]; !known {
		d.bad(k, "%s kind = %s: not in this version, which has %s", path, k.show(), names(kinds))
	}
	s.Every = sh.every
	least := 10 * time.Millisecond
	if sh.atMost > 0 {
		least = sh.atMost
	}
	takes := slices.Clone(sh.keys)
	if slices.Contains(takes, "frame") {
		frame := "line"
		if f := n.get("frame"); f != nil {
			frame = f.text
		}
		if fr, ok := frames[frame]; ok {
			takes = append(takes, fr.keys...)
			sh.needs = append(slices.Clone(sh.needs), fr.needs...)
		}
	}
	delimiter := "\n"
	all := []key{
		{"name", text(&s.Name)},
		{"kind", text(&s.Kind)},
		{"every", duration(&s.Every, least, "")},
		{"timeout", duration(&s.Timeout, time.Millisecond, "")},
		{"min", limit(&s.Min)},
		{"max", limit(&s.Max)},
		{"deadband", number(&s.Deadband)},
		{"heartbeat", duration(&s.Heartbeat, time.Millisecond, "")},
		{"stale", duration(&s.Stale, time.Millisecond, "never")},
		{"required", boolean(&s.Required)},
	}
	special := []key{
		{"bus", text(&s.Bus)},
		{"address", integer(&s.Address, 0x03, 0x77)},
		{"port", text(&s.Port)},
		{"baud", integer(&s.Baud, 50, 4_000_000)},
		{"data_bits", integer(&s.DataBits, 5, 8)},
		{"parity", oneOf(&s.Parity, "none", "odd", "even", "mark", "space")},
		{"stop_bits", stopBits(&s.StopBits)},
		{"frame", oneOf(&s.Frame, slices.Sorted(maps.Keys(frames))...)},
		{"delimiter", text(&delimiter)},
		{"max_line", size(&s.MaxLine, 16, 64<<10, "")},
		{"parse", oneOf(&s.Parse, "text", "csv", "json", "kv", "regexp")},
		{"pattern", pattern(&s.Pattern)},
		{"fields", fields(&s.Fields)},
		{"start", text(&s.Start)},
		{"poll", text(&s.Poll)},
		{"path", text(&s.Path)},
		{"scale", number(&s.Scale)},
		{"field", field(&s.Field)},
	}
	for _, k := range special {
		if slices.Contains(takes, k.name) {
			all = append(all, k)
		}
	}
	d.section(n, path, all, func(name string) (why string, ok bool) {
		if slices.ContainsFunc(special, func(k key) bool { return k.name == name }) {
			why = fmt.Sprintf("does not belong to kind %s", s.Kind)
		}
		return why, !known
	})
	s.Delimiter = []byte(delimiter)
	if !known {
		return s
	}
	d.checkSource(n, path, &s, sh)
	return s
}

func names[V any](m map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}

func stopBits(to *float64) func(*value) {
	return func(v *value) {
		f, ok := v.number()
		if !ok || f != 1 && f != 1.5 && f != 2 {
			v.expected("1, 1.5 or 2")
			return
		}
		*to = f
	}
}

// checkSource finds what is missing and what contradicts, and fills in what
// depends on other keys.
func (d *decoder) checkSource(n *node, path string, s *Source, sh shape) {
	if n.get("name") == nil {
		d.bad(n, "%s name is missing", path)
	} else if s.Name != "" && (!level(s.Name) || len(s.Name) > 64) || s.Name == "" && n.get("name").kind == stringKind {
		d.bad(place(n, "name", n), "%s name = %q: expected a name without /, + and #, of 1 to 64 bytes", path, s.Name)
	}
	for _, need := range sh.needs {
		if v := n.get(need); v == nil || v.kind == stringKind && v.text == "" {
			d.bad(n, "%s %s is missing", path, need)
		}
	}
	if s.Timeout == 0 {
		s.Timeout = 3 * time.Second
	}
	if s.Min != nil && s.Max != nil && *s.Min >= *s.Max {
		d.bad(place(n, "min", n), "%s min = %v: expected less than max = %v", path, *s.Min, *s.Max)
	}
	if s.Deadband < 0 {
		d.bad(place(n, "deadband", n), "%s deadband = %v: expected no negative number", path, s.Deadband)
	}
	if s.Kind == "serial" {
		d.checkSerial(n, path, s)
	}
	if n.get("stale") == nil && s.Every > 0 {
		s.Stale = 3 * s.Every
	}
}

func (d *decoder) checkSerial(n *node, path string, s *Source) {
	if n.get("every") != nil && s.Poll == "" {
		d.bad(place(n, "every", n), "%s every: expected poll beside it: without it the device sends when it likes", path)
	}
	if s.Poll != "" && s.Every == 0 {
		s.Every = 10 * time.Second
	}
	if len(s.Delimiter) == 0 {
		d.bad(place(n, "delimiter", n), "%s delimiter: expected at least one byte", path)
	}
	switch {
	case s.Parse == "csv" && len(s.Fields) == 0:
		d.bad(n, "%s fields is missing: parse = \"csv\" needs names in order, like [\"weight kg\", \"stable\"]", path)
	case s.Parse == "regexp" && s.Pattern == nil && n.get("pattern") == nil:
		d.bad(n, "%s pattern is missing: parse = \"regexp\" needs one with named groups", path)
	case s.Parse != "regexp" && n.get("pattern") != nil:
		d.bad(place(n, "pattern", n), "%s pattern: expected parse = \"regexp\" beside it", path)
	case s.Parse == "text" && len(s.Fields) > 1:
		d.bad(place(n, "fields", n), "%s fields: expected one at most with parse = \"text\"", path)
	}
}
