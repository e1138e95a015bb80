package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"edgeagg/internal/record"
)

// stranger reads a folder as FORMAT.md tells it. It shares no code with the
// journal, and gives up at damage.
type strangersReader struct {
	segs []strangersSegment
	base map[string]int64
}

type strangersSegment struct {
	file                []byte
	salt                []byte
	journal, prev, boot string
	number, first       uint64
	longest             uint64
}

var crc32c = crc32.MakeTable(crc32.Castagnoli)

func (r *strangersReader) add(t *testing.T, p []byte) {
	t.Helper()
	le := binary.LittleEndian
	h := p[:4096]
	if string(h[:8]) != "edgeagg\x01" || crc32.Checksum(h[:4092], crc32c) != le.Uint32(h[4092:]) {
		t.Fatal("no head")
	}
	s := strangersSegment{
		file: p, salt: h[8:16], journal: string(h[16:32]), prev: string(h[32:48]), boot: string(h[48:64]),
		number: le.Uint64(h[72:]), first: le.Uint64(h[80:]), longest: uint64(le.Uint32(h[144:])),
	}
	if b := int64(le.Uint64(h[112:])); b != 0 {
		r.base[s.boot] = b
	}
	r.segs = append(r.segs, s)
}

// lines gives all records as the lines of `edgeagg cat`.
func (r *strangersReader) lines(t *testing.T) (lines []string) {
	t.Helper()
	le := binary.LittleEndian
	sort.Slice(r.segs, func(a, b int) bool {
		if r.segs[a].first != r.segs[b].first {
			return r.segs[a].first < r.segs[b].first
		}
		return r.segs[a].number < r.segs[b].number
	})
	for i, s := range r.segs {
		before := uint64(math.MaxUint64)
		if i+1 < len(r.segs) {
			before = r.segs[i+1].first
		}
		seq := s.first
		for off := 8192; off < len(s.file) && seq < before; {
			p := s.file[off:]
			if len(p) > 8 {
				n, k := binary.Uvarint(p[6:])
				if k > 0 && n > 0 && n <= s.longest && 6+k+int(n) <= len(p) {
					end := 6 + k + int(n)
					sum := crc32.Checksum(append(append(append([]byte(nil), s.salt...), p[4:end]...), le.AppendUint64(nil, seq)...), crc32c)
					if sum == le.Uint32(p) && le.Uint16(p[4:]) == uint16(seq) {
						lines = append(lines, r.line(t, &s, seq, p[6+k:end]))
						seq++
						off += end
						continue
					}
				}
			}
			for _, b := range p[:min(len(p), 4096-off%4096)] {
				if b != 0 {
					t.Fatalf("damage at %#x", off)
				}
			}
			off += 4096 - off%4096
		}
	}
	return lines
}

func (r *strangersReader) line(t *testing.T, s *strangersSegment, seq uint64, p []byte) string {
	t.Helper()
	u := func() uint64 {
		v, n := binary.Uvarint(p)
		p = p[n:]
		return v
	}
	z := func() int64 { v := u(); return int64(v>>1) ^ -int64(v&1) }
	text := func() string {
		n := u()
		v := string(p[:n])
		p = p[n:]
		return v
	}
	one := func() byte {
		b := p[0]
		p = p[1:]
		return b
	}
	quoted := func(s string) string {
		q, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(q)
	}
	stamp := func(wall, mono uint64, set bool) (string, string) {
		clock := ""
		if !set {
			clock = `,"clock":"unset"`
			if b := r.base[s.boot]; b != 0 && mono != 0 {
				wall, clock = uint64(b)+mono, `,"clock":"corrected"`
			}
		}
		return quoted(time.UnixMicro(int64(wall)).UTC().Format("2006-01-02T15:04:05.000000Z")), clock
	}
	head := one()
	wall, mono := u(), u()
	at, clock := stamp(wall, mono, head&4 != 0)
	out := fmt.Sprintf(`{"seq":%d,"time":%s%s`, seq, at, clock)
	if source := text(); source != "" {
		out += `,"source":` + quoted(source)
	}
	span := func(first, last uint64) string {
		if first == 0 {
			return ""
		}
		return fmt.Sprintf(`,"first":%d,"last":%d`, first, last)
	}
	switch head & 3 {
	case 1:
		if q := head >> 3; q != 0 {
			out += fmt.Sprintf(`,"quality":"%s","why":%s`, []string{"", "uncertain", "bad"}[q], quoted(text()))
		}
		var fields []string
		for range u() {
			f := quoted(text()) + ":"
			switch one() {
			case 0:
				v, err := json.Marshal(math.Float64frombits(binary.LittleEndian.Uint64(p)))
				if err != nil {
					t.Fatal(err)
				}
				f, p = f+string(v), p[8:]
			case 1:
				f += strconv.FormatInt(z(), 10)
			case 2:
				f += quoted(text())
			case 3:
				f += strconv.FormatBool(one() != 0)
			}
			fields = append(fields, f)
		}
		out += `,"fields":{` + strings.Join(fields, ",") + "}"
	case 2:
		reason := text()
		out += fmt.Sprintf(`,"gap":{"count":%d,"reason":%s`, z(), quoted(reason))
		first := u()
		out += span(first, u())
		for _, name := range []string{"from", "to"} {
			wall := u()
			mono := u()
			if wall>>1 != 0 {
				at, _ := stamp(wall>>1, mono, wall&1 != 0)
				out += fmt.Sprintf(`,"%s":%s`, name, at)
			}
		}
		out += "}"
	case 3:
		out += `,"event":` + quoted(text())
		if why := text(); why != "" {
			out += `,"why":` + quoted(why)
		}
		if ns := z(); ns != 0 {
			out += fmt.Sprintf(`,"offset":"%ss"`, strconv.FormatFloat(time.Duration(ns).Seconds(), 'f', -1, 64))
		}
		first := u()
		out += span(first, u())
	}
	if len(p) != 0 {
		t.Fatalf("record %d: %d bytes too many", seq, len(p))
	}
	return out + "}"
}

// The example in FORMAT.md reads as it says there, by a stranger and by the journal.
func TestTheExample(t *testing.T) {
	text := string(readFile(t, "FORMAT.md"))
	file := make([]byte, 65536)
	var want []string
	for line := range strings.Lines(text[strings.Index(text, "## Example"):]) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "{") {
			want = append(want, line)
		}
		at, code, ok := strings.Cut(strings.TrimPrefix(line, "    "), "  ")
		off, err := strconv.ParseUint(at, 16, 16)
		if !strings.HasPrefix(line, "    ") || !ok || err != nil {
			continue
		}
		p, err := hex.DecodeString(strings.ReplaceAll(code, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		copy(file[off:], p)
	}
	copy(file[4096:8192], file)
	r := strangersReader{base: map[string]int64{}}
	r.add(t, file)
	if got := r.lines(t); len(want) != 3 || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("a stranger reads\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "example.seg"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := catLines(t, dir); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the journal reads\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	h, err := parseHead(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(h.append(nil), file[:4096]) {
		t.Error("the head is not written as it is read")
	}
}

// catLines are the records of a folder as JSON.
func catLines(t *testing.T, dir string) (lines []string) {
	t.Helper()
	var d record.Decoder
	for _, e := range inspect(t, dir).entries {
		var r record.Record
		if err := e.Decode(&d, &r); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(record.AppendJSON(nil, &r)))
	}
	return lines
}

// A stranger who knows only FORMAT.md reads what the journal wrote.
func TestAStrangerReadsTheJournal(t *testing.T) {
	b := newBench(t, memory(t))
	b.set = false
	j := b.open(t)
	add := func(r record.Record) {
		r.Time = b.Now()
		write(t, j, record.Append(nil, &r))
	}
	for n := range int64(3000) {
		add(record.Record{Kind: record.Reading, Source: "scale", Quality: record.Quality(n % 3), Why: strings.Repeat("w", int(n%3)), Fields: []record.Field{
			{Name: "f", Num: float64(n) / 7}, {Name: "i", Type: record.Int, Int: -n}, {Name: "s", Type: record.String, Text: "é\""}, {Name: "b", Type: record.Bool, Int: n % 2},
		}})
		switch {
		case n%100 == 0:
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
		case n == 1050:
			j.leave()
		case n == 1550:
			b.wall += 1_000_000_000
			b.set = true
		case n == 2050:
			kill(j)
			j = b.open(t)
		case n == 2550:
			kill(j)
			b.Boot[0]++
			b.set, b.mono = false, 5
			j = b.open(t)
		}
	}
	add(record.Record{Kind: record.Gap, Source: "scale", Count: 3, Reason: record.Unplugged, From: record.Time{Wall: 7, Mono: 6}, To: b.Now()})
	add(record.Record{Kind: record.Event, Event: record.Stop})
	finish(t, j)
	r := strangersReader{base: map[string]int64{}}
	for _, name := range segmentFiles(t, b.Dir) {
		r.add(t, readFile(t, name))
	}
	got, want := r.lines(t), catLines(t, b.Dir)
	if len(got) != len(want) || len(got) < 3005 {
		t.Fatalf("a stranger reads %d records, the journal %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("a stranger reads\n%s\nthe journal\n%s", got[i], want[i])
		}
	}
	for _, clock := range []string{"corrected", "unset"} {
		if !strings.Contains(strings.Join(got, "\n"), clock) {
			t.Errorf("no time is %s", clock)
		}
	}
}
