package config

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"time"
)

// usb is the form of a port that is known by its USB identity.
var usb = regexp.MustCompile(`^usb:[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}(:[^@]+)?(@[0-9][0-9.:-]*)?$`)

// port takes a path or an identity of a serial port.
func port(to *string) func(*value) {
	return func(v *value) {
		id, byID := strings.CutPrefix(v.text, "by-id:")
		ok := v.text == "" || strings.Contains(v.text, "/") && !byID // empty: told as missing
		switch {
		case byID:
			ok = id != "" && !strings.Contains(id, "/")
		case strings.HasPrefix(v.text, "usb:"):
			ok = usb.MatchString(v.text)
		}
		if v.kind != stringKind || !ok || strings.Contains(v.text, "\x00") {
			v.expected("a path like /dev/ttyUSB0, by-id:NAME with a name in /dev/serial/by-id, or usb:VID:PID[:SERIAL][@PORTPATH] like usb:0403:6001:A9XYZ")
			return
		}
		*to = v.text
	}
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

func pattern(to **regexp.Regexp) func(*value) {
	return func(v *value) {
		if v.kind != stringKind {
			v.expected("a string")
			return
		}
		re, err := regexp.Compile(v.text)
		if err != nil {
			v.expected("a regular expression as of Go, but: %v", err)
			return
		}
		*to = re
	}
}

func (d *decoder) checkSerial(n *node, path string, s *Source) {
	if s.Poll != "" && s.Every == 0 {
		s.Every = 10 * time.Second
	}
	if s.Frame != "line" {
		return
	}
	if len(s.Delimiter) == 0 {
		d.bad(n.get("delimiter"), "%s delimiter = \"\": expected at least one byte, for example \"\\r\\n\"", path)
	}
	if s.Parse == "csv" && n.get("fields") == nil && !n.torn {
		d.bad(n, "%s fields is missing: parse = \"csv\" needs the names in order, for example [\"weight kg\", \"stable\"]", path)
	}
	if s.Parse == "text" && len(s.Fields) > 1 {
		d.bad(n.get("fields"), "%s fields: expected one at most with parse = \"text\", which takes the line as one value", path)
	}
	if p := n.get("pattern"); p != nil && s.Parse != "regexp" {
		d.bad(p, "%s pattern: expected parse = \"regexp\" beside it", path)
	} else if p == nil && s.Parse == "regexp" && !n.torn {
		d.bad(n, "%s pattern is missing: parse = \"regexp\" needs one, for example \"(?P<weight>[0-9.]+) kg\"", path)
	}
	if s.Parse == "regexp" && s.Pattern != nil {
		d.groups(n, path, s)
	}
}

// groups checks that each field has its group. If no group has a name, they
// get those of the fields, in order.
func (d *decoder) groups(n *node, path string, s *Source) {
	p := n.get("pattern")
	groups := map[string]bool{}
	for _, name := range s.Pattern.SubexpNames() {
		groups[name] = true
	}
	if len(groups) == 1 { // "" is the whole match
		if k := s.Pattern.NumSubexp(); k == 0 || k != len(s.Fields) {
			d.bad(p, "%s pattern = %s: expected a named group for each value, for example (?P<weight>[0-9.]+), or as many groups as fields; found %d groups and %d fields", path, quote(p.text), k, len(s.Fields))
			return
		}
		named, err := nameGroups(s.Pattern.String(), s.Fields)
		if err != nil {
			d.bad(p, "%s pattern = %s: expected groups that can have the names of the fields (letters, digits and _): %v", path, quote(p.text), err)
			return
		}
		s.Pattern = named
		return
	}
	for i, f := range s.Fields {
		if f.Name != "" && !groups[f.Name] {
			d.bad(n.get("fields").items[i], "%s fields: %s is no group of the pattern", path, f.Name)
		}
	}
}

func nameGroups(pattern string, fields []Field) (*regexp.Regexp, error) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	var name func(*syntax.Regexp)
	name = func(re *syntax.Regexp) {
		if re.Op == syntax.OpCapture {
			re.Name = fields[re.Cap-1].Name
		}
		for _, sub := range re.Sub {
			name(sub)
		}
	}
	name(tree)
	return regexp.Compile(tree.String())
}
