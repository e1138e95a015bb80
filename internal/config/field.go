package config

import (
	"slices"
	"strings"
)

// maxField is the longest name and unit of a field together, in bytes.
const maxField = 128

// field takes the name and unit of one value: "weight kg".
func field(to *Field) func(*value) {
	return func(v *value) {
		if f, ok := v.field(v.node); ok {
			*to = f
		}
	}
}

func (v *value) field(n *node) (f Field, ok bool) {
	parts := strings.Fields(n.text)
	if n.kind != stringKind || len(parts) == 0 || len(parts) > 2 || len(n.text) > maxField || !plain(n.text) {
		v.of(n).expected("a name and perhaps a unit, for example \"weight kg\"")
		return f, false
	}
	f.Name = parts[0]
	if len(parts) == 2 {
		f.Unit = parts[1]
	}
	return f, true
}

// fields takes an array of them, at least one, each of another name.
func fields(to *[]Field) func(*value) {
	return func(v *value) {
		*to = nil
		if v.kind != arrayKind || len(v.items) == 0 {
			v.expected("an array, for example [\"weight kg\", \"stable\"]")
			return
		}
		for _, n := range v.items {
			f, ok := v.field(n)
			if ok && slices.ContainsFunc(*to, func(o Field) bool { return o.Name == f.Name }) {
				v.d.bad(n, "%s: %s stands there twice", v.path, quote(f.Name))
			}
			*to = append(*to, f)
		}
	}
}
