package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Problem is one mistake, or one thing worth a warning.
type Problem struct {
	File string
	Line int // from 1; 0: the whole file
	Text string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Problems is the error of a broken configuration: all its mistakes.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// sorted orders problems by place.
func sorted(p []Problem) []Problem {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return p
}

type kind int

const (
	tableKind kind = iota
	arrayKind
	stringKind
	integerKind
	floatKind
	boolKind
	dateKind
)

func (k kind) String() string {
	return [...]string{"a table", "an array", "a string", "an integer", "a number", "a boolean", "a date"}[k]
}

// node is a value of the file and its place.
type node struct {
	file    string
	line    int
	kind    kind
	text    string  // of a scalar: its content, or as it is written
	items   []*node // of an array
	keys    []*member
	closed  bool // an inline table, or a table that [name] has opened
	ofTable bool // an array made by [[name]]
}

type member struct {
	name string
	line int
	node *node
}

func (n *node) get(name string) *node {
	for _, m := range n.keys {
		if m.name == name {
			return m.node
		}
	}
	return nil
}

// show is the value as a person would recognise it.
func (n *node) show() string {
	switch n.kind {
	case stringKind:
		return fmt.Sprintf("%q", n.text)
	case tableKind, arrayKind:
		return n.kind.String()
	}
	return n.text
}

// reader builds one tree from the expressions of several files.
type reader struct {
	root     *node
	file     string
	p        unstable.Parser
	problems *[]Problem
}

func (r *reader) bad(line int, format string, args ...any) {
	*r.problems = append(*r.problems, Problem{r.file, line, fmt.Sprintf(format, args...)})
}

// maxDepth bounds nested arrays and inline tables.
const maxDepth = 32

// read adds a file to the tree.
func (r *reader) read(file string, data []byte) {
	r.file = file
	r.p.Reset(data)
	at := r.root
	for r.p.NextExpression() {
		e := r.p.Expression()
		if e.Kind == unstable.Comment {
			continue
		}
		names, line := r.path(e.Key())
		switch e.Kind {
		case unstable.KeyValue:
			if at != nil {
				r.set(at, names, line, r.value(e.Value(), line, 0))
			}
		case unstable.Table, unstable.ArrayTable:
			at = r.open(names, line, e.Kind == unstable.ArrayTable)
		}
	}
	if err := r.p.Error(); err != nil {
		line := 0
		if e := (*unstable.ParserError)(nil); errors.As(err, &e) && len(e.Highlight) > 0 {
			line = r.p.Shape(r.p.Range(e.Highlight)).Start.Line
		}
		r.bad(line, "not TOML: %v", err)
	}
}

func (r *reader) path(it unstable.Iterator) (names []string, line int) {
	for it.Next() {
		n := it.Node()
		if line == 0 {
			line = r.p.Shape(n.Raw).Start.Line
		}
		names = append(names, string(n.Data))
	}
	return names, line
}

// open finds or makes the table of a header; nil if it cannot be.
func (r *reader) open(names []string, line int, array bool) *node {
	at := r.root
	for _, name := range names[:len(names)-1] {
		if at = r.into(at, name, line); at == nil {
			return nil
		}
	}
	name := names[len(names)-1]
	old := at.get(name)
	fresh := &node{file: r.file, line: line, closed: true}
	if array {
		if old == nil {
			old = &node{file: r.file, line: line, kind: arrayKind, ofTable: true}
			at.keys = append(at.keys, &member{name, line, old})
		}
		if !old.ofTable {
			r.twice(name, line, old)
			return nil
		}
		old.items = append(old.items, fresh)
		return fresh
	}
	switch {
	case old == nil:
		at.keys = append(at.keys, &member{name, line, fresh})
		return fresh
	case old.kind != tableKind, old.closed && old.file == r.file:
		r.twice(name, line, old)
		return nil
	}
	return old // of another file, or so far only the parent of one
}

// into goes to a table inside at, made if need be; of an array of tables, the last.
func (r *reader) into(at *node, name string, line int) *node {
	next := at.get(name)
	switch {
	case next == nil:
		next = &node{file: r.file, line: line}
		at.keys = append(at.keys, &member{name, line, next})
	case next.ofTable:
		next = next.items[len(next.items)-1]
	case next.kind != tableKind:
		r.twice(name, line, next)
		return nil
	}
	return next
}

func (r *reader) twice(name string, line int, old *node) {
	r.bad(line, "%s stands here again, first at %s:%d", name, old.file, old.line)
}

// set puts a value under a possibly dotted key.
func (r *reader) set(at *node, names []string, line int, v *node) {
	for _, name := range names[:len(names)-1] {
		if at = r.into(at, name, line); at == nil {
			return
		}
	}
	name := names[len(names)-1]
	if old := at.get(name); old != nil {
		r.twice(name, line, old)
		return
	}
	at.keys = append(at.keys, &member{name, line, v})
}

func (r *reader) value(v *unstable.Node, line, depth int) *node {
	n := &node{file: r.file, line: line, text: string(v.Data)}
	if v.Raw.Length > 0 {
		n.line = r.p.Shape(v.Raw).Start.Line
	}
	if depth > maxDepth {
		r.bad(line, "nested deeper than %d", maxDepth)
		return n
	}
	switch v.Kind {
	case unstable.String:
		n.kind = stringKind
	case unstable.Integer:
		n.kind = integerKind
	case unstable.Float:
		n.kind = floatKind
	case unstable.Bool:
		n.kind = boolKind
	case unstable.Array:
		n.kind = arrayKind
		for it := v.Children(); it.Next(); {
			if it.Node().Kind != unstable.Comment {
				n.items = append(n.items, r.value(it.Node(), n.line, depth+1))
			}
		}
	case unstable.InlineTable:
		n.closed = true
		for it := v.Children(); it.Next(); {
			if e := it.Node(); e.Kind == unstable.KeyValue {
				names, at := r.path(e.Key())
				r.set(n, names, at, r.value(e.Value(), at, depth+1))
			}
		}
	default:
		n.kind = dateKind
	}
	return n
}
