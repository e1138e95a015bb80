package sensors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// fake is a device whose every call is the test's.
type fake struct {
	read func(*record.Record) error
}

func (f *fake) Read(r *record.Record) error { return f.read(r) }
func (f *fake) Close() error                { return nil }

// bubble runs one source of a fake kind for d of a bubble's time.
func bubble(t *testing.T, c config.Source, k kind, s *sink, d time.Duration) Status {
	t.Helper()
	o := &Options{Sink: s, Full: errFull, MaxRecord: 200, Log: slog.New(slog.DiscardHandler), Now: wallNow}
	src := newSource(&c, k, o)
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	src.run(ctx)
	return src.Status()
}

func number(v float64) func(*record.Record) error {
	return func(r *record.Record) error {
		r.Quality, r.Fields = record.Good, append(r.Fields[:0], record.Field{Name: "v", Num: v})
		return nil
	}
}

var oneField = func(*config.Source) []config.Field { return []config.Field{{Name: "v", Unit: "V"}} }

func polledKind(read func(*record.Record) error) kind {
	return kind{way: polled, fields: oneField, open: func(*config.Source, *Options) (driver, error) { return &fake{read}, nil }}
}

// Readings come at multiples of every on the wall clock, without drift.
func TestTheScheduleIsAlignedToTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(137 * time.Millisecond)
		s := &sink{}
		bubble(t, config.Source{Name: "x", Every: time.Second, Timeout: time.Second}, polledKind(number(1)), s, 10*time.Second)
		recs := s.all()
		if len(recs) != 11 { // one at once, then ten
			t.Fatalf("%d readings", len(recs))
		}
		for _, r := range recs[1:] {
			if late := r.Time.Wall % 1e6; late > 1000 {
				t.Errorf("%d µs behind the second", late)
			}
		}
	})
}

// An outage of a polled source is one gap with the exact count, between two events.
func TestAnOutageOfAPolledSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		begin := time.Now()
		k := polledKind(func(r *record.Record) error {
			if e := time.Since(begin); e > 4500*time.Millisecond && e < 9500*time.Millisecond {
				return errors.New("no answer")
			}
			return number(7)(r)
		})
		st := bubble(t, config.Source{Name: "x", Every: time.Second, Timeout: time.Second}, k, s, 12500*time.Millisecond)
		// At 0, 1 to 4; 5 to 9 fail; 10 to 12.
		if got := script(s.all()); got != "7 7 7 7 7 failed gap:error:5 back 7 7 7" {
			t.Error(got)
		}
		if st.Lost[record.Error] != 5 || st.Errors[record.Error] == 0 || st.State != "ok" {
			t.Errorf("%+v", st)
		}
	})
}

// A single failure is repeated with the device opened anew, and costs nothing.
func TestASingleFailureIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		n, opened := 0, 0
		k := polledKind(nil)
		k.open = func(*config.Source, *Options) (driver, error) {
			opened++
			return &fake{func(r *record.Record) error {
				if n++; n == 3 {
					return errors.New("once")
				}
				return number(float64(n))(r)
			}}, nil
		}
		bubble(t, config.Source{Name: "x", Every: time.Second, Timeout: time.Second}, k, s, 4500*time.Millisecond)
		if got := script(s.all()); got != "1 2 4 5 6" || opened != 2 {
			t.Errorf("%s, opened %d times", got, opened)
		}
	})
}

// An outage that lasts is told each hour.
func TestALongOutageIsToldEachHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		k := kind{way: sends, fields: oneField, open: func(*config.Source, *Options) (driver, error) { return nil, fmt.Errorf("open: %w", errGone) }}
		st := bubble(t, config.Source{Name: "x", Timeout: time.Second}, k, s, 150*time.Minute)
		if got := script(s.all()); got != "unplugged gap:unplugged:-1 gap:unplugged:-1 gap:unplugged:-1" {
			t.Error(got)
		}
		if st.State != "unplugged" {
			t.Errorf("%+v", st)
		}
		recs := s.all()
		for i := 2; i < len(recs); i++ {
			if recs[i].From.Wall != recs[i-1].To.Wall {
				t.Errorf("a gap from %v follows one to %v", recs[i].From, recs[i-1].To)
			}
		}
	})
}

// A call that hangs is abandoned at its timeout; nothing else is called until
// it returns, and then the source goes on.
func TestACallThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		n, inside := 0, 0
		k := polledKind(func(r *record.Record) error {
			if inside++; inside > 1 {
				t.Error("two calls at once")
			}
			defer func() { inside-- }()
			if n++; n == 3 {
				time.Sleep(10 * time.Second)
			}
			return number(float64(n))(r)
		})
		st := bubble(t, config.Source{Name: "x", Every: time.Second, Timeout: 500 * time.Millisecond}, k, s, 20*time.Second)
		got := script(s.all())
		if !strings.HasPrefix(got, "1 2 failed gap:error:") || !strings.Contains(got, "back 4 5") || st.Abandoned != 1 {
			t.Errorf("%s, %+v", got, st)
		}
	})
}

// A driver that panics is an error of its source.
func TestADriverThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		st := bubble(t, config.Source{Name: "x", Every: time.Second, Timeout: time.Second}, polledKind(func(*record.Record) error { panic("ouch") }), s, 3500*time.Millisecond)
		if got := script(s.all()); !strings.HasPrefix(got, "failed gap:error:") || st.State != "error" {
			t.Errorf("%s, %+v", got, st)
		}
	})
}

// Times of one source rise, also when the wall clock is set back.
func TestTimesRise(t *testing.T) {
	s := newSource(&config.Source{}, kind{}, &Options{Log: slog.New(slog.DiscardHandler)})
	last := record.Time{}
	for i, in := range []record.Time{
		{Wall: 1000, Mono: 10}, {Wall: 1000, Mono: 10}, {Wall: 900, Mono: 20},
		{Wall: 500, Mono: 30, Set: true}, // set for the first time: it may go back
		{Wall: 500, Mono: 30, Set: true}, {Wall: 400, Mono: 40, Set: true}, {Wall: 9000, Mono: 50, Set: true},
	} {
		got := s.rising(in)
		if got.Mono <= last.Mono || got.Wall <= last.Wall && i != 3 {
			t.Errorf("%d: %+v behind %+v", i, got, last)
		}
		last = got
	}
}

// simulate keeps its mean rate when ticks are late.
func TestSimulateKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		c := config.Source{Name: "x", Kind: "simulate", Every: time.Millisecond, Timeout: time.Second, Fields: []config.Field{{Name: "t", Unit: "Cel"}, {Name: "h", Unit: "%RH"}}}
		bubble(t, c, kinds["simulate"], s, 2*time.Second)
		recs := s.all()
		if len(recs) < 1990 || len(recs) > 2001 {
			t.Errorf("%d readings in 2 s", len(recs))
		}
		moved := 0
		for i, r := range recs {
			if v := r.Fields[0].Num; v < -20 || v > 60 || r.Fields[1].Num < 0 || r.Fields[1].Num > 100 {
				t.Fatalf("%+v", r.Fields)
			}
			if i > 0 && r.Fields[0] != recs[i-1].Fields[0] {
				moved++
			}
		}
		if moved < 100 {
			t.Errorf("moved %d times", moved)
		}
	})
}

func TestJudgement(t *testing.T) {
	low, high := 0.0, 10.0
	c := config.Source{Name: "x", Min: &low, Max: &high}
	s := newSource(&c, kind{fields: oneField}, &Options{Log: slog.New(slog.DiscardHandler), MaxRecord: 120})
	for _, x := range []struct {
		fields  []record.Field
		quality record.Quality
		why     string
		left    int
	}{
		{[]record.Field{{Name: "v", Num: 5}}, record.Good, "", 1},
		{[]record.Field{{Name: "v", Num: -1}}, record.Bad, "v below min", 1},
		{[]record.Field{{Name: "v", Num: 11}}, record.Bad, "v above max", 1},
		{[]record.Field{{Name: "v", Num: math.NaN()}, {Name: "w", Num: 1}}, record.Bad, "v is not finite", 1},
		{[]record.Field{{Name: "v", Num: math.Inf(1)}}, record.Bad, "v is not finite", 0},
		{[]record.Field{{Name: "v", Type: record.String, Text: "??"}}, record.Bad, "v is not a number", 1},
		{[]record.Field{{Name: "w", Type: record.String, Text: "plain"}}, record.Good, "", 1},
		{[]record.Field{{Name: "w", Type: record.String, Text: "\xff"}}, record.Bad, "not UTF-8", 1},
	} {
		r := record.Record{Kind: record.Reading, Fields: x.fields}
		s.judge(&r)
		if r.Quality != x.quality || r.Why != x.why || len(r.Fields) != x.left {
			t.Errorf("%+v", r)
		}
	}
	r := record.Record{Kind: record.Reading, Source: "x", Fields: []record.Field{{Name: "t", Type: record.String, Text: strings.Repeat("é", 200)}}}
	p := s.encode(nil, &r)
	if len(p) > 120 || r.Quality != record.Bad || r.Why != "too long" || !strings.HasPrefix(r.Fields[0].Text, "éé") || strings.ContainsRune(r.Fields[0].Text, '�') {
		t.Errorf("%d bytes, %+v", len(p), r)
	}
}

// Only changes are stored, and a heartbeat.
func TestDeadband(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		n := 0
		values := []float64{1, 1.05, 0.95, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2}
		st := bubble(t, config.Source{Name: "x", Every: time.Second, Timeout: time.Second, Deadband: 0.1, Heartbeat: 4 * time.Second},
			polledKind(func(r *record.Record) error {
				n++
				return number(values[n-1])(r)
			}), s, 9500*time.Millisecond)
		if got := script(s.all()); got != "1 1.2 1.2" || st.Readings != 10 {
			t.Errorf("%s of %d", got, st.Readings)
		}
	})
}

func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(&config.Source{Stale: 3 * time.Second}, kind{}, &Options{Log: slog.New(slog.DiscardHandler)})
		src.setState("ok")
		time.Sleep(2 * time.Second)
		if st := src.Status(); st.State != "ok" {
			t.Error(st.State)
		}
		time.Sleep(2 * time.Second)
		if st := src.Status(); st.State != "stale" {
			t.Error(st.State)
		}
	})
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "temp")
	c := config.Source{Path: name, Scale: 0.001, Field: config.Field{Name: "t", Unit: "Cel"}}
	put := func(s string) {
		if err := os.WriteFile(name+".new", []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openFile(&c, nil); err == nil {
		t.Error("a file that is not there was opened")
	}
	put("21530\n")
	d, err := openFile(&c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	for _, x := range []struct {
		content, want string
	}{
		{"21530\n", `{"t":21.53}`}, {"-1\n", `{"t":-0.001}`}, {"x\n", `{"text":"x"}`}, {" 7000 ", `{"t":7}`},
	} {
		put(x.content)
		var r record.Record
		if err := d.Read(&r); err != nil {
			t.Fatal(err)
		}
		if got := show(r.Fields, ""); got != x.want {
			t.Errorf("%q: %s", x.content, got)
		}
	}
	put("")
	var r record.Record
	if err := d.Read(&r); err == nil {
		t.Errorf("an empty file: %+v", r)
	}
}

func TestMeta(t *testing.T) {
	set, err := New(Options{Sources: []config.Source{
		{Name: "a", Kind: "bme280", Bus: "/dev/i2c-1"},
		{Name: "b", Kind: "serial", Port: "/dev/ttyUSB0", Fields: []config.Field{{Name: "w", Unit: "kg"}, {Name: "s"}}},
	}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		`{"kind":"bme280","bus":"/dev/i2c-1","fields":[{"name":"temperature","unit":"Cel"},{"name":"humidity","unit":"%RH"},{"name":"pressure","unit":"Pa"}]}`,
		`{"kind":"serial","port":"/dev/ttyUSB0","fields":[{"name":"w","unit":"kg"},{"name":"s"}]}`,
	} {
		if got := string(set.Sources()[i].Meta(nil)); got != want {
			t.Errorf("%s, expected\n%s", got, want)
		}
	}
	if _, err := New(Options{Sources: []config.Source{{Name: "a", Kind: "none"}}}); err == nil {
		t.Error("an unknown kind was taken")
	}
}
