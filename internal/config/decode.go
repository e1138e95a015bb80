package config

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A key of a section, and what its value becomes.
type key struct {
	name string
	set  func(*value)
}

// value is a node on its way to a final type.
type value struct {
	*node
	d    *decoder
	path string // as it is named in messages
}

type decoder struct {
	problems []Problem
	id       Identity
}

func (d *decoder) bad(n *node, format string, args ...any) {
	d.problems = append(d.problems, Problem{n.file, n.line, fmt.Sprintf(format, args...)})
}

// expected says that the value is not what it should be.
func (v *value) expected(format string, args ...any) {
	v.d.bad(v.node, "%s = %s: expected %s", v.path, v.show(), fmt.Sprintf(format, args...))
}

// section decodes a table by its list of keys. Of a key that is not in it,
// foreign may say why it is wrong, or that it is to be passed over.
func (d *decoder) section(n *node, path string, keys []key, foreign func(name string) (why string, ok bool)) {
	if n == nil {
		return
	}
	if n.kind != tableKind {
		d.bad(n, "%s = %s: expected a table", path, n.show())
		return
	}
	for _, m := range n.keys {
		full := strings.TrimPrefix(path+"."+m.name, ".")
		if strings.HasSuffix(path, ":") {
			full = path + " " + m.name
		}
		i := slices.IndexFunc(keys, func(k key) bool { return k.name == m.name })
		if i >= 0 {
			keys[i].set(&value{m.node, d, full})
			continue
		}
		at := &node{file: m.node.file, line: m.line}
		if m.node.kind == arrayKind && len(m.node.items) > 0 && m.node.ofTable {
			at.line = m.node.items[0].line
		}
		if foreign != nil {
			why, ok := foreign(m.name)
			if ok {
				continue
			}
			if why != "" {
				d.bad(at, "%s: %s", full, why)
				continue
			}
		}
		names := make([]string, len(keys))
		for i := range keys {
			names[i] = keys[i].name
		}
		d.bad(at, "%s: unknown key%s", full, nearest(m.name, names))
	}
}

// nearest suggests the name that was probably meant.
func nearest(name string, names []string) string {
	best, found := 3, ""
	for _, n := range names {
		if e := distance(name, n); e < best && e < len(n) {
			best, found = e, n
		}
	}
	if found == "" {
		return fmt.Sprintf(" (known here: %s)", strings.Join(names, ", "))
	}
	return fmt.Sprintf(" (did you mean %s?)", found)
}

// distance is the edit distance of Levenshtein.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func text(to *string) func(*value) {
	return func(v *value) {
		if v.kind != stringKind {
			v.expected("a string")
			return
		}
		*to = v.text
	}
}

func oneOf(to *string, words ...string) func(*value) {
	return func(v *value) {
		if v.kind != stringKind || !slices.Contains(words, v.text) {
			quoted := make([]string, len(words))
			for i, w := range words {
				quoted[i] = strconv.Quote(w)
			}
			v.expected("one of %s", strings.Join(quoted, ", "))
			return
		}
		*to = v.text
	}
}

func boolean(to *bool) func(*value) {
	return func(v *value) {
		if v.kind != boolKind {
			v.expected("true or false")
			return
		}
		*to = v.text == "true"
	}
}

func integer[T int | uint16](to *T, low, high int64) func(*value) {
	return func(v *value) {
		n, err := strconv.ParseInt(strings.ReplaceAll(v.text, "_", ""), 0, 64)
		if v.kind != integerKind || err != nil || n < low || n > high {
			v.expected("an integer from %d to %d", low, high)
			return
		}
		*to = T(n)
	}
}

func number(to *float64) func(*value) {
	return func(v *value) {
		f, ok := v.number()
		if !ok {
			v.expected("a number")
			return
		}
		*to = f
	}
}

func (v *value) number() (float64, bool) {
	switch v.kind {
	case integerKind:
		n, err := strconv.ParseInt(strings.ReplaceAll(v.text, "_", ""), 0, 64)
		return float64(n), err == nil
	case floatKind:
		f, err := strconv.ParseFloat(strings.ReplaceAll(v.text, "_", ""), 64)
		return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	return 0, false
}

func limit(to **float64) func(*value) {
	return func(v *value) {
		*to = new(float64)
		number(*to)(v)
	}
}

// duration takes Go's form, from low on; 0 too where zero says what it means.
func duration(to *time.Duration, low time.Duration, zero string) func(*value) {
	return func(v *value) {
		want := fmt.Sprintf("a duration of at least %v, for example \"30s\"", low)
		if zero != "" {
			want += fmt.Sprintf(", or \"0s\": %s", zero)
		}
		t, err := time.ParseDuration(v.text)
		if v.kind != stringKind || err != nil || t < low && (t != 0 || zero == "") || t > 100*365*24*time.Hour {
			v.expected("%s", want)
			return
		}
		*to = t
	}
}

var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}, {"", 1}}

func parseSize(s string) (int64, bool) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || f < 0 || math.IsNaN(f) || f*float64(u.bytes) > 1<<50 {
			return 0, false
		}
		return int64(f * float64(u.bytes)), true
	}
	return 0, false
}

// size takes KiB, MiB and GiB, or plain bytes; 0 too where zero says what it means.
func size[T int | int64](to *T, low, high int64, zero string) func(*value) {
	return func(v *value) {
		want := fmt.Sprintf("a size from %s to %s, for example \"64KiB\"", showSize(low), showSize(high))
		if zero != "" {
			want += fmt.Sprintf(", or \"0\": %s", zero)
		}
		n, ok := parseSize(v.text)
		if v.kind != stringKind && v.kind != integerKind || !ok || (n < low || n > high) && (n != 0 || zero == "") {
			v.expected("%s", want)
			return
		}
		*to = T(n)
	}
}

func showSize(n int64) string {
	for i := 2; i >= 0; i-- {
		if u := units[i]; n >= u.bytes && n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(n, 10)
}

// texts takes an array of strings, or a single one where alone allows it.
func texts(to *[]string, alone bool, words ...string) func(*value) {
	return func(v *value) {
		items := v.items
		if alone && v.kind == stringKind {
			items = []*node{v.node}
		} else if v.kind != arrayKind {
			v.expected("an array of strings")
			return
		}
		*to = []string{}
		for _, n := range items {
			if n.kind != stringKind {
				(&value{n, v.d, v.path}).expected("a string")
				continue
			}
			if len(words) > 0 && !slices.Contains(words, n.text) {
				(&value{n, v.d, v.path}).expected("one of %s", strings.Join(words, ", "))
				continue
			}
			*to = append(*to, n.text)
		}
	}
}

var ports = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

func brokers(to *[]*url.URL) func(*value) {
	return func(v *value) {
		var urls []string
		texts(&urls, true)(v)
		for _, s := range urls {
			at := &value{&node{file: v.file, line: v.line, kind: stringKind, text: s}, v.d, v.path}
			u, err := url.Parse(s)
			switch {
			case err != nil || u.Hostname() == "" || ports[u.Scheme] == "":
				at.expected("a URL like mqtts://broker.example:8883 (mqtt, mqtts, ws or wss)")
				continue
			case u.User != nil:
				at.text = u.Redacted()
				at.expected("no login in the URL: use uplink.username and uplink.password_file")
				continue
			case (u.Scheme == "mqtt" || u.Scheme == "mqtts") && strings.Trim(u.Path, "/") != "":
				at.expected("no path behind the host")
				continue
			}
			if u.Port() == "" {
				u.Host = net.JoinHostPort(u.Hostname(), ports[u.Scheme])
			}
			*to = append(*to, u)
		}
	}
}

// spans takes hours of the day like "01:00-05:00".
func spans(to *[]Span) func(*value) {
	return func(v *value) {
		var all []string
		texts(&all, false)(v)
		for _, s := range all {
			from, till, ok := strings.Cut(s, "-")
			a, err1 := time.Parse("15:04", strings.TrimSpace(from))
			till = strings.TrimSpace(till)
			b, err2 := time.Parse("15:04", strings.Replace(till, "24:00", "00:00", 1))
			if !ok || err1 != nil || err2 != nil || a.Equal(b) && till != "24:00" {
				(&value{&node{file: v.file, line: v.line, kind: stringKind, text: s}, v.d, v.path}).expected("local times like \"01:00-05:00\"")
				continue
			}
			*to = append(*to, Span{a.Hour()*60 + a.Minute(), b.Hour()*60 + b.Minute()})
		}
	}
}

func pattern(to **regexp.Regexp) func(*value) {
	return func(v *value) {
		re, err := regexp.Compile(v.text)
		if v.kind != stringKind || err != nil {
			v.expected("a regular expression (%v)", err)
			return
		}
		if !slices.ContainsFunc(re.SubexpNames(), func(s string) bool { return s != "" }) {
			v.expected("at least one named group like (?P<weight>[0-9.]+)")
			return
		}
		*to = re
	}
}

// parseField splits a name and its unit: "weight kg".
func (v *value) parseField(n *node) (f Field, ok bool) {
	words := strings.Fields(n.text)
	if n.kind != stringKind || len(words) == 0 || len(words) > 2 || len(n.text) > 128 || !utf8.ValidString(n.text) {
		(&value{n, v.d, v.path}).expected("a name and perhaps a unit, like \"weight kg\"")
		return f, false
	}
	f.Name = words[0]
	if len(words) == 2 {
		f.Unit = words[1]
	}
	return f, true
}

func field(to *Field) func(*value) {
	return func(v *value) {
		if f, ok := v.parseField(v.node); ok {
			*to = f
		}
	}
}

func fields(to *[]Field) func(*value) {
	return func(v *value) {
		if v.kind != arrayKind {
			v.expected("an array like [\"weight kg\", \"stable\"]")
			return
		}
		for _, n := range v.items {
			f, ok := v.parseField(n)
			if !ok {
				continue
			}
			if slices.ContainsFunc(*to, func(o Field) bool { return o.Name == f.Name }) {
				v.d.bad(n, "%s: field %q stands there twice", v.path, f.Name)
				continue
			}
			*to = append(*to, f)
		}
		if len(*to) == 0 && len(v.items) == 0 {
			v.d.bad(v.node, "%s: expected at least one field", v.path)
		}
	}
}

// level takes what can be one level of an MQTT topic (MQTT 3.1.1, section 4.7).
func level(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsAny(s, "/+#\x00\n\r") && utf8.ValidString(s)
}

// placeholder finds {words} that stay after the known ones were put in.
var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// fill puts values in the place of {words}.
func (d *decoder) fill(n *node, path, s string, words ...string) string {
	for i := 0; i < len(words); i += 2 {
		if strings.Contains(s, "{"+words[i]+"}") && words[i+1] == "" {
			d.bad(n, "%s = %q: this board has no %s", path, s, words[i])
		}
		s = strings.ReplaceAll(s, "{"+words[i]+"}", words[i+1])
	}
	if p := placeholder.FindString(s); p != "" {
		known := []string{}
		for i := 0; i < len(words); i += 2 {
			known = append(known, "{"+words[i]+"}")
		}
		d.bad(n, "%s = %q: expected only %s in braces, found %s", path, s, strings.Join(known, ", "), p)
	}
	return s
}

// topic checks an MQTT topic to publish on, with room for what comes behind it.
func (d *decoder) topic(n *node, path, s string) {
	switch {
	case s == "" || strings.ContainsAny(s, "+#\x00") || !utf8.ValidString(s):
		d.bad(n, "%s = %q: expected a topic without +, # and NUL", path, s)
	case len(s) > 1024:
		d.bad(n, "%s: expected a topic of at most 1024 bytes, found %d", path, len(s))
	case s[0] == '$':
		d.bad(n, "%s = %q: topics that begin with $ belong to the broker", path, s)
	case s[0] == '/' || s[len(s)-1] == '/':
		d.bad(n, "%s = %q: expected no slash at either end", path, s)
	}
}

// place is where a key stands, or else where its section does.
func place(n *node, name string, otherwise *node) *node {
	if n != nil {
		for _, m := range n.keys {
			if m.name == name {
				return cmp.Or(m.node, n)
			}
		}
		return n
	}
	return otherwise
}
