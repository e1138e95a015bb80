package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

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

// node is a value of a file and its place.
type node struct {
	file   string
	line   int
	kind   kind
	text   string  // of a scalar: its content, or as it is written
	items  []*node // of an array
	keys   []*member
	header string // the file whose [name] opened this table last
	tables bool   // an array made by [[name]]
	torn   bool   // a line of this table could not be read: what is missing may stand there
}

type member struct {
	name string
	line int
	node *node
}

func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
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
	case tableKind:
		return "a table"
	case arrayKind:
		return "an array"
	case stringKind:
		return quote(n.text)
	}
	return n.text
}

// quote is s in quotes, with its end left out if it is long.
func quote(s string) string {
	const longest = 100
	if len(s) > longest {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(s[:longest], ""))
	}
	return fmt.Sprintf("%q", s)
}

// maxFile bounds a file, so that a wrong one ends in an error and not in the
// memory of the board. A source takes some 200 bytes.
const maxFile = 256 << 10

// maxDepth bounds nested arrays and inline tables.
const maxDepth = 32

// maxBroken is how many lines of a file are told that are not TOML.
const maxBroken = 20

// reader builds one tree from the expressions of several files.
type reader struct {
	root     *node
	problems *[]Problem

	p     unstable.Parser
	file  string
	data  []byte
	ends  []int    // where lines end
	base  int      // where the parser's part of data begins
	read  int      // up to where expressions were understood
	torn  int      // lines that were not
	table []string // the header above
}

func (r *reader) bad(line int, format string, args ...any) {
	*r.problems = append(*r.problems, Problem{r.file, line, fmt.Sprintf(format, args...)})
}

func (r *reader) line(offset int) int {
	i, _ := slices.BinarySearch(r.ends, offset)
	return i + 1
}

// add reads a file into the tree. What is not TOML is told, and reading goes
// on behind it.
func (r *reader) add(file string, data []byte) {
	r.file, r.data, r.table = file, bytes.TrimPrefix(data, []byte("\uFEFF")), nil
	r.base, r.read, r.torn, r.ends = 0, 0, 0, nil
	if len(data) > maxFile {
		r.bad(0, "longer than %s, which no configuration is", showSize(maxFile))
		return
	}
	for i, b := range r.data {
		if b == '\n' {
			r.ends = append(r.ends, i)
		}
	}
	at := r.root
	for r.base < len(r.data) {
		r.p.Reset(r.data[r.base:])
		for r.p.NextExpression() {
			at = r.expression(at, r.p.Expression())
		}
		err := r.p.Error()
		if err == nil {
			return
		}
		at = r.broken(at, err)
	}
}

// expression adds a line to the table at, and returns the table that what
// follows belongs to: nil if that has no place.
func (r *reader) expression(at *node, e *unstable.Node) *node {
	names, line := r.path(e.Key())
	if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
		r.table = names
		return r.open(names, line, e.Kind == unstable.ArrayTable)
	}
	r.read = max(r.read, r.base+int(e.Raw.Offset+e.Raw.Length))
	if at != nil {
		r.set(at, names, line, r.value(e.Value(), line, 0))
	}
	return at
}

var (
	// begins is what a line looks like that begins an expression.
	begins = regexp.MustCompile(`(?m)^[ \t]*(?:\[\[?[\w."' -]+\]|[\w-]+[ \t]*=)`)
	// blank is what stands between expressions.
	blank = regexp.MustCompile(`^(?:[ \t\r\n]|#[^\n]*(?:\n|$))*`)
	// unquoted is a line whose value lacks its quotes.
	unquoted = regexp.MustCompile(`^[ \t]*[\w.-]+[ \t]*=[ \t]*[^\s"'\[{#][^"'\[{]*$`)
)

// broken tells an error of syntax and finds where to go on; it returns the
// table that what follows belongs to.
func (r *reader) broken(at *node, err error) *node {
	start := r.read
	if start > r.base {
		start = r.nextLine(start)
	}
	start += len(blank.Find(r.data[start:]))
	where := start
	if e := (*unstable.ParserError)(nil); errors.As(err, &e) {
		// The highlight is a part of data, and its capacity says which.
		if o := cap(r.data) - cap(e.Highlight); o > start && o < len(r.data) {
			where = o
		}
	}
	began, line := r.line(start), r.line(where)
	text := r.data[start:r.nextLine(start)]
	says := fmt.Sprintf("not TOML: %v", err)
	switch {
	case line > began:
		says += fmt.Sprintf(" (in what begins at line %d)", began)
	case unquoted.Match(bytes.TrimRight(text, "\r\n")):
		says += " (text needs quotes: key = \"value\")"
	}
	r.bad(line, "%s", says)
	if r.torn++; r.torn == maxBroken {
		r.bad(line, "more lines are not TOML; what follows was not read")
		r.base = len(r.data)
		return nil
	}

	if bytes.HasPrefix(bytes.TrimLeft(text, " \t"), []byte("[")) {
		at = nil // what follows belongs to a table that is not known
	} else if at != nil {
		at.torn = true
	}
	r.base = r.nextLine(start)
	if line > began {
		r.base = max(r.base, r.ends[line-2]+1)
	}
	if next := begins.FindIndex(r.data[r.base:]); next != nil {
		r.base += next[0]
	} else {
		r.base = len(r.data)
	}
	r.read = r.base
	return at
}

// nextLine is where the line after that of offset begins.
func (r *reader) nextLine(offset int) int {
	if i := bytes.IndexByte(r.data[offset:], '\n'); i >= 0 {
		return offset + i + 1
	}
	return len(r.data)
}

func (r *reader) path(it unstable.Iterator) (names []string, line int) {
	for it.Next() {
		n := it.Node()
		if line == 0 {
			line = r.line(r.base + int(n.Raw.Offset))
		}
		r.read = max(r.read, r.base+int(n.Raw.Offset+n.Raw.Length))
		names = append(names, string(n.Data))
	}
	return names, line
}

// open finds or makes the table of a header; nil if it cannot be.
func (r *reader) open(names []string, line int, array bool) *node {
	at := r.root
	for i := range names[:len(names)-1] {
		if at = r.into(at, names[:i+1], line); at == nil {
			return nil
		}
	}
	name := names[len(names)-1]
	old := at.get(name)
	fresh := &node{file: r.file, line: line, header: r.file}
	switch {
	case array && old == nil:
		list := &node{file: r.file, line: line, kind: arrayKind, tables: true, items: []*node{fresh}}
		at.keys = append(at.keys, &member{name, line, list})
		return fresh
	case array && old.tables:
		old.items = append(old.items, fresh)
		return fresh
	case !array && old == nil:
		at.keys = append(at.keys, &member{name, line, fresh})
		return fresh
	case !array && old.kind == tableKind && old.header != r.file:
		old.header = r.file // begun in another file, or as the parent of another table
		return old
	}
	r.twice(names, line, old)
	return nil
}

// into goes to the table inside at that names end with, made if need be; of an
// array of tables, to the last one of this file.
func (r *reader) into(at *node, names []string, line int) *node {
	name := names[len(names)-1]
	next := at.get(name)
	switch {
	case next == nil:
		next = &node{file: r.file, line: line}
		at.keys = append(at.keys, &member{name, line, next})
	case next.tables:
		next = next.items[len(next.items)-1]
		if next.file != r.file {
			r.bad(line, "%s: expected [[%s]] above it in this file", strings.Join(r.table, "."), name)
			return nil
		}
	case next.kind != tableKind:
		r.twice(names, line, next)
		return nil
	}
	return next
}

func (r *reader) twice(names []string, line int, old *node) {
	r.bad(line, "%s stands here again, first at %s:%d", strings.Join(names, "."), old.file, old.line)
}

// set puts a value under a possibly dotted key.
func (r *reader) set(at *node, names []string, line int, v *node) {
	path := slices.Concat(r.table, names)
	for i := range names[:len(names)-1] {
		if at = r.into(at, path[:len(r.table)+i+1], line); at == nil {
			return
		}
	}
	name := names[len(names)-1]
	if old := at.get(name); old != nil {
		r.twice(path, line, old)
		return
	}
	at.keys = append(at.keys, &member{name, line, v})
}

func (r *reader) value(v *unstable.Node, line, depth int) *node {
	n := &node{file: r.file, line: line, text: string(v.Data)}
	if v.Raw.Length > 0 {
		n.line = r.line(r.base + int(v.Raw.Offset))
	}
	if depth > maxDepth {
		r.bad(line, "arrays or tables inside each other, deeper than %d", maxDepth)
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
		n.header = r.file
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
