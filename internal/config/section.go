package config

import (
	"fmt"
	"slices"
	"strings"
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

// expected says that the value is not what it should be.
func (v *value) expected(format string, args ...any) {
	v.d.bad(v.node, "%s = %s: expected %s", v.path, v.show(), fmt.Sprintf(format, args...))
}

// of is an item of v, for messages.
func (v *value) of(item *node) *value { return &value{item, v.d, v.path} }

// decoder turns a tree into a Config.
type decoder struct {
	files    reader
	id       Identity
	problems []Problem
	home     map[string]string // keys that one section alone has, and which
}

func newDecoder(file string, id Identity) *decoder {
	d := &decoder{id: id}
	d.files = reader{root: &node{file: file, line: 1}, problems: &d.problems}
	return d
}

func (d *decoder) bad(n *node, format string, args ...any) {
	d.problems = append(d.problems, Problem{n.file, n.line, fmt.Sprintf(format, args...)})
}

// section decodes a table by its list of keys. Of a key that is not in it,
// foreign, if any, says why it is wrong; passed: that it is to be passed over.
func (d *decoder) section(n *node, path string, keys []key, foreign func(name string) (why string, passed bool)) {
	if n.kind != tableKind {
		d.bad(n, "%s = %s: expected a section, [%s]", path, n.show(), path)
		return
	}
	for _, m := range n.keys {
		full := m.name
		if strings.HasSuffix(path, ":") {
			full = path + " " + m.name
		} else if path != "" {
			full = path + "." + m.name
		}
		if i := slices.IndexFunc(keys, func(k key) bool { return k.name == m.name }); i >= 0 {
			keys[i].set(&value{m.node, d, full})
			continue
		}
		why, passed := "", false
		if foreign != nil {
			why, passed = foreign(m.name)
		}
		if passed {
			continue
		}
		if why == "" {
			why = d.unknown(m.name, keys)
		}
		d.bad(&node{file: m.node.file, line: m.line}, "%s: %s", full, why)
	}
}

// unknown says of a key that does not belong to keys what was probably meant.
func (d *decoder) unknown(name string, keys []key) string {
	if home := d.home[name]; home != "" {
		return fmt.Sprintf("unknown key here: it belongs to %s", home)
	}
	names := make([]string, len(keys))
	best, found := 3, ""
	for i, k := range keys {
		names[i] = k.name
		if e := distance(name, k.name); e < best && e < len(k.name) {
			best, found = e, k.name
		}
	}
	if found != "" {
		return fmt.Sprintf("unknown key (did you mean %s?)", found)
	}
	return fmt.Sprintf("unknown key (known here: %s)", strings.Join(names, ", "))
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

// place is where a key of n stands, or else where n does, or else the file.
func (d *decoder) place(n *node, name string) *node {
	if n == nil {
		return d.files.root
	}
	for _, m := range n.keys {
		if m.name == name {
			return m.node
		}
	}
	return n
}
