package sensors

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

func serialSource(port, parse string, fields ...config.Field) config.Source {
	c := *plain(parse, fields...)
	c.Port, c.Baud, c.DataBits, c.Parity, c.StopBits, c.Timeout = port, 115200, 8, "none", 1, 3*time.Second
	return c
}

// state polls until a source is in a state.
func inState(t *testing.T, s *Source, want string) {
	t.Helper()
	until(t, s.Name()+" is "+want, func() bool { return s.Status().State == want })
}

func TestSerialLinesBecomeReadings(t *testing.T) {
	pty, b := openPTY(t), newBook()
	c := serialSource(pty.name, "csv", config.Field{Name: "weight", Unit: "kg"}, config.Field{Name: "stable"})
	set, stop := serve(t, options(b, c))
	s := set.Sources()[0]
	if got, want := string(s.Meta(nil)), `{"kind":"serial","port":"`+pty.name+`","fields":[{"name":"weight","unit":"kg"},{"name":"stable"}]}`; got != want {
		t.Errorf("meta %s, expected %s", got, want)
	}
	inState(t, s, "ok")
	pty.send(t, "0,start\r\n1.5,true\r\n\r\n\n2")
	pty.send(t, "5,false\r\n9,9,9\r\nx,1\r\n")
	until(t, "all lines are read", func() bool { return len(b.of(record.Reading)) == 5 })
	stop()
	var got []string
	for _, r := range b.all()[1:] {
		got = append(got, show(r))
	}
	want := []string{
		`"fields":{"weight":1.5,"stable":true}}`,
		`"fields":{"weight":25,"stable":false}}`,
		`"quality":"bad","why":"expected 2 fields, found 3","fields":{"weight":9,"stable":9,"text":"9,9,9"}}`,
		`"quality":"bad","why":"weight is not a number","fields":{"stable":1,"text":"x"}}`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	b.sound(t)
	st := s.Status()
	if st.Readings != 5 || st.Errors["bad"] != 2 || st.Last != b.all()[4].Time.At() {
		t.Errorf("status %+v", st)
	}
	var r record.Record
	p, n := s.Newest([]byte("behind"))
	if err := new(record.Decoder).Decode(p[len("behind"):], &r); err != nil || n != 5 || show(r) != want[3] {
		t.Errorf("newest: %s, %d, %v", show(r), n, err)
	}
}

// The first line may be cut, unless the line was silent before it.
func TestSerialFirstLine(t *testing.T) {
	tests := []struct {
		name   string
		silent bool
		data   string
		want   []string
	}{
		{"cut", false, "34,1\n1234,1\n", []string{`"quality":"uncertain","why":"start","fields":{"a":34,"b":1}}`, `"fields":{"a":1234,"b":1}}`}},
		{"cut so that it does not parse", false, "1\n1234,1\n", []string{`"quality":"uncertain","why":"start","fields":{"a":1,"text":"1"}}`, `"fields":{"a":1234,"b":1}}`}},
		{"cut before its end", false, "\r\n1234,1\n", []string{`"fields":{"a":1234,"b":1}}`}},
		{"too long", false, strings.Repeat("x", 5000) + "\n1234,1\n", []string{`"quality":"bad","why":"too long","fields":{"text":"` + strings.Repeat("x", 4096) + `"}}`, `"fields":{"a":1234,"b":1}}`}},
		{"silence before", true, "34,1\n", []string{`"fields":{"a":34,"b":1}}`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pty := openPTY(t)
			c := serialSource(pty.name, "csv", config.Field{Name: "a"}, config.Field{Name: "b"})
			o := options(newBook())
			d, err := openSerial(&c, &o)
			if err != nil {
				t.Fatal(err)
			}
			defer closed(t, d)
			l := d.(*lines)
			if l.opened = time.Now().Add(time.Hour); test.silent {
				l.opened = time.Now().Add(-silence)
			}
			go func() { _, _ = pty.far.WriteString(test.data) }()
			for _, want := range test.want {
				var r record.Record
				until(t, "a line", func() bool {
					if l.Read(&r) == nil {
						return true
					}
					_ = l.fill(10 * time.Millisecond)
					return false
				})
				if r.Kind = record.Reading; show(r) != want {
					t.Errorf("got %.120s, expected %.120s", show(r), want)
				}
			}
		})
	}
}

// A line of 1 MB without an end costs one bad reading and no memory.
func TestSerialLineWithoutEnd(t *testing.T) {
	pty, b := openPTY(t), newBook()
	set, stop := serve(t, options(b, serialSource(pty.name, "text")))
	inState(t, set.Sources()[0], "ok")
	piece := strings.Repeat("z", 1000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 1000 {
		pty.send(t, piece)
	}
	runtime.ReadMemStats(&after)
	pty.send(t, "\nfine\n")
	until(t, "the line behind it", func() bool { return len(b.of(record.Reading)) == 2 })
	stop()
	long, fine := b.all()[0], b.all()[1]
	if long.Quality != record.Bad || long.Why != "too long" || !strings.HasPrefix(long.Fields[0].Text, piece) {
		t.Errorf("the long line is %.100s", show(long))
	}
	if b.size[0] > 4096 {
		t.Errorf("its record has %d bytes", b.size[0])
	}
	if show(fine) != `"fields":{"text":"fine"}}` {
		t.Errorf("the next line is %s", show(fine))
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

// A device that is unplugged and comes back under another name, again and
// again, is read each time; nothing is left over, and nothing is written to
// what has the descriptor's number in between.
func TestSerialUnplugAndReplug(t *testing.T) {
	const times = 100
	b := newBook()
	dir := t.TempDir()
	link := filepath.Join(dir, "port")
	c := serialSource(link, "text")
	c.Poll, c.Every = "?", 10*time.Millisecond // so that there are writes that could go astray
	set, stop := serve(t, options(b, c))
	s := set.Sources()[0]
	inState(t, s, "unplugged")

	pty := openPTY(t)
	repoint(t, link, pty.name)
	var decoys []*os.File
	fds, threads, routines := 0, 0, 0
	for i := range times {
		answer(t, pty, fmt.Sprintf("line %d\n", i))
		until(t, fmt.Sprintf("reading after replug %d", i), func() bool {
			all := b.of(record.Reading)
			return len(all) > 0 && all[len(all)-1].Fields[0].Text == fmt.Sprintf("line %d", i)
		})
		if i == times/10 { // what is made once is there by now
			fds, threads, routines = len(descriptors()), count(t, "/proc/self/task"), runtime.NumGoroutine()
		}
		if i == times-1 {
			break
		}
		next := openPTY(t)
		repoint(t, link, next.name)
		pty.far.Close()
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("decoy", i)))
		if err != nil {
			t.Fatal(err)
		}
		decoys = append(decoys, f)
		pty = next
	}
	extra := len(decoys) - times/10
	until(t, "no descriptor, goroutine or thread is left over", func() bool {
		return len(descriptors()) <= fds+extra && runtime.NumGoroutine() <= routines+1 && count(t, "/proc/self/task") <= threads+3
	})
	stop()
	for _, f := range decoys {
		if st, err := f.Stat(); err != nil || st.Size() > 0 {
			t.Errorf("%s: %d bytes were written to it, %v", f.Name(), st.Size(), err)
		}
		f.Close()
	}

	// One gap an unplug, from the event of the loss to that of the return.
	b.sound(t)
	n := map[string]int{}
	var lost record.Time
	for _, r := range b.all() {
		switch {
		case r.Event == record.Lost:
			lost = r.Time
		case r.Kind == record.Gap && r.Reason == record.Unplugged && (r.From != lost || r.To.Mono < r.From.Mono || r.Count < 0):
			t.Errorf("gap %+v behind the loss at %v", r, lost)
		}
		n[r.Event+r.Reason]++
	}
	if n[record.Lost] != times*2 || n[record.Plugged] != times || n[record.Error] != 0 {
		// The event and the reason have the same name.
		t.Errorf("events and gaps: %v", n)
	}
}

// answer writes a line for each poll, until the port is gone.
func answer(t *testing.T, pty *pty, line string) {
	t.Helper()
	// While somebody has the port open, reading its other end waits.
	near, err := os.OpenFile(pty.name, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer near.Close()
		r := bufio.NewReader(pty.far)
		for {
			if _, err := r.ReadByte(); err != nil {
				return
			}
			if _, err := pty.far.WriteString(line); err != nil {
				return
			}
		}
	}()
}

func count(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A link that leads elsewhere is followed, also while the old device only is silent.
func TestSerialFollowsItsLink(t *testing.T) {
	one, two, b := openPTY(t), openPTY(t), newBook()
	link := filepath.Join(t.TempDir(), "port")
	repoint(t, link, one.name)
	set, stop := serve(t, options(b, serialSource(link, "text")))
	inState(t, set.Sources()[0], "ok")
	repoint(t, link, two.name)
	two.send(t, "here\nI am\n")
	until(t, "the lines of the other device", func() bool { return len(b.of(record.Reading)) == 2 })
	stop()
	var got []string
	for _, r := range b.all() {
		got = append(got, r.Event+r.Reason)
	}
	if strings.Join(got, " ") != "unplugged unplugged plugged  " {
		t.Errorf("events and gaps: %q", got)
	}
	b.sound(t)
}

// Start is sent once after the opening, poll each time, and the answers are whole.
func TestSerialStartAndPoll(t *testing.T) {
	pty, b := openPTY(t), newBook()
	c := serialSource(pty.name, "text")
	c.Start, c.Poll, c.Every = "A\r\n", "?\r\n", 10*time.Millisecond
	got := make(chan string, 100)
	go func() {
		r := bufio.NewScanner(pty.far)
		for r.Scan() {
			got <- r.Text()
			_, _ = fmt.Fprintf(pty.far, "%s!\n", r.Text())
		}
	}()
	_, stop := serve(t, options(b, c))
	until(t, "four answers", func() bool { return len(b.of(record.Reading)) >= 4 })
	stop()
	for i, want := range []string{"A", "?", "?"} {
		if s := <-got; s != want {
			t.Errorf("the device got %q as number %d, expected %q", s, i, want)
		}
	}
	for i, r := range b.all() {
		if r.Quality != record.Good || r.Kind != record.Reading || i > 0 && r.Fields[0].Text != "?!" {
			t.Errorf("record %d is %s", i, show(r))
		}
	}
	b.sound(t)
}

// What had come when the program was told to end is kept.
func TestSerialEndKeepsWhatHasCome(t *testing.T) {
	pty, b := openPTY(t), newBook()
	set, stop := serve(t, options(b, serialSource(pty.name, "text")))
	inState(t, set.Sources()[0], "ok")
	const lines = 1000
	pty.send(t, strings.Repeat("a\n", lines))
	stop()
	if n := len(b.of(record.Reading)); n != lines {
		t.Errorf("%d of %d lines are kept", n, lines)
	}
	b.sound(t)
}

// Lines that come faster than one at a time, over several ports at once.
func TestSerialNothingIsLost(t *testing.T) {
	const ports, lines = 4, 5000
	b := newBook()
	var sources []config.Source
	var ptys []*pty
	for i := range ports {
		p := openPTY(t)
		ptys = append(ptys, p)
		c := serialSource(p.name, "csv", config.Field{Name: "n"}, config.Field{Name: "v", Unit: "V"})
		c.Name, c.Baud = fmt.Sprint("port", i), 921_600
		sources = append(sources, c)
	}
	set, stop := serve(t, options(b, sources...))
	for i, p := range ptys {
		inState(t, set.Sources()[i], "ok")
		go func() {
			for n := range lines {
				if _, err := fmt.Fprintf(p.far, "%d,%d.5\n", n, n%100); err != nil {
					return
				}
			}
		}()
	}
	until(t, "all lines are read", func() bool {
		for _, s := range set.Sources() {
			if s.Status().Readings < lines {
				return false
			}
		}
		return true
	})
	stop()
	b.sound(t)
	next := map[string]int64{}
	for _, r := range b.of(record.Reading) {
		if n := r.Fields[0].Int; n != next[r.Source] {
			t.Fatalf("%s: line %d behind line %d", r.Source, n, next[r.Source]-1)
		}
		next[r.Source]++
	}
}

// BenchmarkSerial is the whole way of a line from a pty to the sink, as CPU of
// the whole process, the device's side with it. Lines come in blocks of 16, or
// each by itself.
func BenchmarkSerial(b *testing.B) {
	for _, block := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d lines at a time", block), func(b *testing.B) {
			pty := openPTY(b)
			o := options(newBook(), serialSource(pty.name, "csv", config.Field{Name: "t", Unit: "Cel"}, config.Field{Name: "h", Unit: "%RH"}, config.Field{Name: "p"}))
			o.Sink = nowhere{}
			set, err := New(o)
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			wg.Go(func() { set.Run(ctx) })
			defer func() { cancel(); wg.Wait() }()
			s := set.Sources()[0]
			for s.Status().State != "ok" {
				runtime.Gosched()
			}
			lines := strings.Repeat("21.53,48.2,1013\r\n", block)
			var before, after unix.Rusage
			_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
			b.ReportAllocs()
			b.SetBytes(int64(len(lines) / block))
			b.ResetTimer()
			for n := 0; n < b.N; n += block {
				pty.send(b, lines)
			}
			var newest []byte
			for n := uint64(0); n < uint64(b.N); runtime.Gosched() {
				newest, n = s.Newest(newest[:0])
			}
			b.StopTimer()
			_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
			cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/line")
		})
	}
}
