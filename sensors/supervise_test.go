package sensors

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// device plays what a driver reads. Times in these tests are those of the
// bubble: no second of them passes.
type device struct {
	mu           sync.Mutex
	err, openErr error
	read         func() error // nil: at once
	opened       int
	closed       int
	reads        int
	hang         chan struct{} // calls wait for it
	hangOpen     chan struct{}
	hangClose    chan struct{}
}

func (d *device) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *device) get(f func() int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return f()
}

func wait(c chan struct{}) {
	if c != nil {
		<-c
	}
}

func (d *device) open(*config.Source, *Options) (driver, error) {
	d.mu.Lock()
	hang, err := d.hangOpen, d.openErr
	d.mu.Unlock()
	wait(hang)
	if err != nil {
		return nil, err
	}
	d.set(func() { d.opened++ })
	return &played{d}, nil
}

type played struct{ d *device }

func (p *played) Read(r *record.Record) error {
	p.d.mu.Lock()
	err, hang, read := p.d.err, p.d.hang, p.d.read
	p.d.reads++
	n := p.d.reads
	p.d.mu.Unlock()
	wait(hang)
	if read != nil {
		err = errors.Join(err, read())
	}
	r.Fields = append(r.Fields, record.Field{Name: "n", Type: record.Int, Int: int64(n)})
	return err
}

func (p *played) Close() error {
	p.d.mu.Lock()
	hang := p.d.hangClose
	p.d.mu.Unlock()
	wait(hang)
	p.d.set(func() { p.d.closed++ })
	return nil
}

// play runs a source over a device.
func play(t *testing.T, o Options, way way, c config.Source, d *device) (s *Source, stop func()) {
	t.Helper()
	c.Kind = "played"
	c.Name = "played"
	s = newSource(&c, kind{way, d.open, onBus, configured}, &o)
	return s, runSet(t, &Set{sources: []*Source{s}})
}

func every(d time.Duration) config.Source { return config.Source{Every: d, Timeout: 3 * time.Second} }

// tale is what a source wrote, shortly.
func tale(b *book) string {
	var words []string
	n := 0
	flush := func() {
		if n > 0 {
			words = append(words, fmt.Sprintf("%d readings", n))
		}
		n = 0
	}
	for _, r := range b.all() {
		switch r.Kind {
		case record.Reading:
			n++
			continue
		case record.Gap:
			flush()
			words = append(words, fmt.Sprintf("%s gap of %d", r.Reason, r.Count))
		default:
			flush()
			words = append(words, r.Event)
		}
	}
	flush()
	return strings.Join(words, ", ")
}

func TestScheduleKeepsToTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{}
		took := 0
		d.read = func() error { // from 0 to 900 ms
			took = (took + 300) % 1000
			time.Sleep(time.Duration(took) * time.Millisecond)
			return nil
		}
		time.Sleep(1234 * time.Millisecond)
		s, stop := play(t, options(b), polled, every(10*time.Second), d)
		time.Sleep(10 * time.Minute)
		stop()
		all := b.all()
		if n := len(all); n != 61 {
			t.Fatalf("%d readings in 10 minutes", n)
		}
		for i, r := range all[1:] {
			if off := r.Time.Wall % 10_000_000; off > 900_000 {
				t.Errorf("reading %d is %d µs behind its tick", i+1, off)
			}
			if i > 0 && r.Time.Wall/10_000_000 != all[i].Time.Wall/10_000_000+1 {
				t.Errorf("reading %d is not one tick behind the last", i+1)
			}
		}
		if st := s.Status(); st.Late != 0 {
			t.Errorf("%d ticks late", st.Late)
		}
	})
}

func TestScheduleSkipsLateTicksAndCountsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{}
		d.read = func() error {
			if d.reads == 5 {
				time.Sleep(3500 * time.Millisecond)
			}
			return nil
		}
		c := every(time.Second)
		c.Timeout = 10 * time.Second
		s, stop := play(t, options(b), polled, c, d)
		time.Sleep(20*time.Second + time.Millisecond)
		stop()
		if st := s.Status(); st.Late != 3 || len(b.all()) != 18 {
			t.Errorf("%d late, %d readings, expected 3 and 18", st.Late, len(b.all()))
		}
		for _, r := range b.all()[6:] {
			if r.Time.Wall%1_000_000 > 1000 {
				t.Errorf("a reading at %v", r.Time.At())
			}
		}
	})
}

// Wherever the wall clock goes, times rise, and no two readings come close.
func TestScheduleWhenTheClockIsMoved(t *testing.T) {
	moves := []struct {
		name string
		by   time.Duration
		set  bool // it counts as set before
	}{
		{"set", 50 * 365 * 24 * time.Hour, false},
		{"an hour back", -time.Hour, true},
		{"4 s back", -4 * time.Second, true},
		{"3 ms back", -3 * time.Millisecond, true},
		{"4 s on", 4 * time.Second, true},
	}
	for _, move := range moves {
		t.Run(move.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, d := newBook(), &device{}
				o := options(b)
				start := time.Now()
				var by atomic.Int64
				var set atomic.Bool
				set.Store(move.set)
				o.Now = func() record.Time {
					now := time.Now()
					return record.Time{Wall: now.Add(time.Duration(by.Load())).UnixMicro(), Mono: now.Sub(start).Microseconds() + 1, Set: set.Load()}
				}
				_, stop := play(t, o, polled, every(10*time.Second), d)
				time.Sleep(95 * time.Second)
				by.Store(int64(move.by))
				set.Store(true)
				time.Sleep(100 * time.Second)
				stop()
				b.sound(t)
				all := b.all()
				if len(all) < 18 || len(all) > 21 {
					t.Errorf("%d readings in 195 s", len(all))
				}
				for i := range all[1:] {
					if i > 0 && all[i+1].Time.Mono-all[i].Time.Mono < 5_000_000 {
						t.Errorf("%d µs between readings %d and %d", all[i+1].Time.Mono-all[i].Time.Mono, i, i+1)
					}
				}
			})
		})
	}
}

func TestOutageIsCountedExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{}
		s, stop := play(t, options(b), polled, every(time.Second), d)
		time.Sleep(10*time.Second + time.Millisecond) // 11 readings: at once and at 10 ticks
		d.set(func() { d.err = errors.New("checksum") })
		time.Sleep(7 * time.Second)
		if st := s.Status(); st.State != "error" {
			t.Errorf("state %s", st.State)
		}
		d.set(func() { d.err = nil })
		time.Sleep(10 * time.Second)
		if got := tale(b); got != "11 readings, failed, error gap of 7, back, 10 readings" {
			t.Error(got)
		}
		if st := s.Status(); st.State != "ok" || st.Lost[record.Error] != 7 {
			t.Errorf("status %+v", st)
		}
		// One that is not over is told before the stop.
		d.set(func() { d.err = errors.New("again " + strings.Repeat("é", 500)) })
		time.Sleep(5 * time.Second)
		stop()
		if got := tale(b); !strings.HasSuffix(got, ", failed, error gap of 5") {
			t.Error(got)
		}
		b.sound(t)
		if why := b.of(record.Event)[2].Why; len(why) < maxWhy-1 || len(why) > maxWhy || !utf8.ValidString(why) {
			t.Errorf("why %q", why)
		}
		gaps := b.of(record.Gap)
		if g := gaps[0]; g.To.Mono-g.From.Mono != 7_000_000 {
			t.Errorf("the gap runs for %d µs", g.To.Mono-g.From.Mono)
		}
		if d.opened != d.closed {
			t.Errorf("opened %d times, closed %d times", d.opened, d.closed)
		}
	})
}

// One bad call is tried again at once, with the driver built anew.
func TestOneFailureIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{}
		d.read = func() error {
			if d.reads == 4 {
				return errors.New("once")
			}
			return nil
		}
		_, stop := play(t, options(b), polled, every(time.Second), d)
		time.Sleep(10*time.Second + time.Millisecond)
		stop()
		if got := tale(b); got != "11 readings" || d.opened != 2 || d.closed != 2 {
			t.Errorf("%s, opened %d times, closed %d times", got, d.opened, d.closed)
		}
	})
}

func TestLongOutageIsToldEachHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{}
		_, stop := play(t, options(b), polled, every(10*time.Second), d)
		time.Sleep(time.Minute + time.Millisecond) // 7 or 8 readings
		d.set(func() { d.err = errors.New("gone for long") })
		time.Sleep(3*time.Hour + 30*time.Minute)
		d.set(func() { d.err = nil })
		time.Sleep(time.Minute)
		stop()
		b.sound(t)
		var sum int64
		gaps := b.of(record.Gap)
		for i, g := range gaps {
			sum += g.Count
			if i > 0 && g.From != gaps[i-1].To {
				t.Errorf("gap %d begins at %v, the one before ends at %v", i, g.From, gaps[i-1].To)
			}
		}
		if len(gaps) != 4 || sum != 3*360+180 {
			t.Errorf("%d gaps over %d readings, expected 4 over 1260: %s", len(gaps), sum, tale(b))
		}
	})
}

// A port that is unplugged stays so until it is open, whatever opening says.
func TestUnpluggedIsOneGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{openErr: errGone}
		s, stop := play(t, options(b), polled, every(time.Second), d)
		time.Sleep(5 * time.Second)
		if st := s.Status(); st.State != "unplugged" {
			t.Errorf("state %s", st.State)
		}
		d.set(func() { d.openErr = errors.New("permission denied") })
		time.Sleep(5 * time.Second)
		if st := s.Status(); st.State != "unplugged" {
			t.Errorf("state %s", st.State)
		}
		d.set(func() { d.openErr = nil })
		time.Sleep(5*time.Second + time.Millisecond)
		if got := tale(b); got != "unplugged, unplugged gap of 11, plugged, 5 readings" && got != "unplugged, unplugged gap of 10, plugged, 6 readings" {
			t.Error(got)
		}
		// The other way round, the error ends where the port went.
		d.set(func() { d.err = errors.New("checksum") })
		time.Sleep(4 * time.Second)
		d.set(func() { d.openErr = errGone })
		time.Sleep(4 * time.Second)
		stop()
		if got := tale(b); !strings.Contains(got, "failed, error gap of") || !strings.Contains(got, ", unplugged, unplugged gap of") {
			t.Error(got)
		}
		b.sound(t)
		var n int64
		for _, r := range b.all() {
			if r.Kind == record.Reading {
				n++
			}
			n += r.Count
		}
		if n != 24 {
			t.Errorf("%d ticks are accounted for in 23 s: %s", n, tale(b))
		}
	})
}

// How often a device that is gone, or fails, is tried.
func TestBackOff(t *testing.T) {
	for reason, most := range map[error]int{errGone: 130, errors.New("fails"): 15} {
		synctest.Test(t, func(t *testing.T) {
			b, d := newBook(), &device{openErr: reason}
			s, stop := play(t, options(b), counted, every(time.Minute), d)
			time.Sleep(time.Minute)
			stop()
			n := 0
			for _, v := range s.Status().Errors {
				n += int(v)
			}
			if n < 4 || n > most || errors.Is(reason, errGone) && n < 60 {
				t.Errorf("%v: %d tries in a minute", reason, n)
			}
		})
	}
}

func TestPanicIsAnErrorOfItsSource(t *testing.T) {
	for _, way := range []way{polled, counted} {
		synctest.Test(t, func(t *testing.T) {
			b, d := newBook(), &device{}
			d.read = func() error {
				if d.reads > 2 && d.reads < 6 {
					var none []int
					_ = none[d.reads]
				}
				return nil
			}
			_, stop := play(t, options(b), way, every(time.Second), d)
			time.Sleep(time.Minute)
			stop()
			var why string
			for _, r := range b.of(record.Event) {
				why += r.Why
			}
			if got := tale(b); !strings.HasPrefix(got, "2 readings, failed, error gap of") || !strings.Contains(why, "panic: runtime error: index out of range") {
				t.Errorf("%s (%s)", got, why)
			}
		})
	}
}

// A call that hangs is left alone, and nothing else of the source is called
// until it returns; then the driver is closed, and the source goes on. Nobody
// waits for it at the end.
func TestHangingCallIsLeftAlone(t *testing.T) {
	tests := []struct {
		name      string
		hang      func(d *device, c chan struct{})
		abandoned uint64
	}{
		{"read", func(d *device, c chan struct{}) { d.hang = c }, 1},
		{"close", func(d *device, c chan struct{}) { d.hangClose, d.err = c, errors.New("fails") }, 0},
		{"open", func(d *device, c chan struct{}) { d.hangOpen, d.err = c, errors.New("fails") }, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, d := newBook(), &device{}
				hang := make(chan struct{})
				s, stop := play(t, options(b), polled, every(time.Second), d)
				time.Sleep(3500 * time.Millisecond)
				d.set(func() { test.hang(d, hang) })
				time.Sleep(time.Minute)
				if st := s.Status(); st.State != "error" || st.Abandoned != test.abandoned {
					t.Errorf("status %+v", st)
				}
				reads := d.get(func() int { return d.reads })
				time.Sleep(time.Minute)
				if n := d.get(func() int { return d.reads }); n != reads {
					t.Errorf("%d calls beside the one that hangs", n-reads)
				}
				d.set(func() { d.hang, d.hangOpen, d.hangClose, d.err = nil, nil, nil, nil })
				close(hang)
				time.Sleep(time.Minute)
				if st := s.Status(); st.State != "ok" {
					t.Errorf("state %s after the call returned", st.State)
				}
				b.sound(t)

				again := make(chan struct{})
				d.set(func() { test.hang(d, again) })
				time.Sleep(10 * time.Second)
				asked := time.Now()
				stop()
				if took := time.Since(asked); took > 1100*time.Millisecond {
					t.Errorf("the end took %v", took)
				}
				close(again)
				synctest.Wait()
				if d.opened != d.closed {
					t.Errorf("opened %d times, closed %d times", d.opened, d.closed)
				}
				if got := tale(b); !strings.HasPrefix(got, "4 readings, failed, error gap of ") || strings.Count(got, "failed") != 2 || strings.Count(got, "error gap") != 2 {
					t.Error(got)
				}
			})
		})
	}
}

// The program ends in the middle of a call.
func TestEndDoesNotWaitForACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{hang: make(chan struct{})}
		_, stop := play(t, options(b), polled, every(time.Second), d)
		time.Sleep(100 * time.Millisecond)
		asked := time.Now()
		stop()
		if took := time.Since(asked); took > 1100*time.Millisecond {
			t.Errorf("the end took %v", took)
		}
		close(d.hang)
		synctest.Wait()
		if d.closed != 1 {
			t.Errorf("closed %d times", d.closed)
		}
	})
}

// A source is not disturbed by what its neighbours do.
func TestNeighboursGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		o := options(b)
		hang := make(chan struct{})
		set := &Set{}
		ways := map[string]*device{"fine": {}, "hangs": {hang: hang}, "fails": {err: errors.New("fails")}, "gone": {openErr: errGone}}
		for name, d := range ways {
			c := every(100 * time.Millisecond)
			c.Name = name
			set.sources = append(set.sources, newSource(&c, kind{polled, d.open, onBus, configured}, &o))
		}
		stop := runSet(t, set)
		time.Sleep(10*time.Second + time.Millisecond)
		stop()
		close(hang)
		n := map[string]int{}
		for _, r := range b.of(record.Reading) {
			n[r.Source]++
		}
		if n["fine"] != 101 || len(n) != 1 {
			t.Errorf("readings: %v", n)
		}
		b.sound(t)
	})
}

// A polled device is opened anew each hour, and misses nothing by it.
func TestDriverIsBuiltAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{}
		_, stop := play(t, options(b), polled, every(10*time.Second), d)
		time.Sleep(5*time.Hour + time.Millisecond)
		stop()
		if got := tale(b); got != "1801 readings" || d.opened < 5 || d.opened > 6 || d.closed != d.opened {
			t.Errorf("%s, opened %d times, closed %d times", got, d.opened, d.closed)
		}
	})
}

func TestStaleAndStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{hang: make(chan struct{})}
		c := every(time.Second)
		c.Stale, c.Timeout = 3*time.Second, time.Hour
		s, stop := play(t, options(b), polled, c, d)
		time.Sleep(time.Second)
		if st := s.Status(); st.State != "starting" || !st.Last.IsZero() {
			t.Errorf("%+v before the first reading", st)
		}
		close(d.hang)
		time.Sleep(time.Second)
		if st := s.Status(); st.State != "ok" {
			t.Errorf("state %s", st.State)
		}
		hang := make(chan struct{})
		d.set(func() { d.hang = hang })
		time.Sleep(5 * time.Second)
		if st := s.Status(); st.State != "stale" {
			t.Errorf("state %s after 5 s without a reading", st.State)
		}
		close(hang)
		d.set(func() { d.hang = nil })
		time.Sleep(time.Second)
		if st := s.Status(); st.State != "ok" {
			t.Errorf("state %s after the next reading", st.State)
		}
		stop()
	})
}

// The mean rate is kept, however late ticks are; only what is more than ten
// seconds late is skipped, and counted.
func TestMeanRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{}
		d.read = func() error {
			if d.reads%1000 == 0 {
				time.Sleep(700 * time.Millisecond)
			}
			return nil
		}
		s, stop := play(t, options(b), counted, every(time.Millisecond), d)
		time.Sleep(10*time.Second + time.Millisecond/2)
		if n := s.Status().Readings; n < 9999 || n > 10_002 {
			t.Errorf("%d readings in 10 s", n)
		}
		time.Sleep(time.Second + 900*time.Millisecond)
		d.set(func() { d.read = func() error { time.Sleep(15 * time.Second); return nil } })
		time.Sleep(2 * time.Millisecond)
		d.set(func() { d.read = nil })
		time.Sleep(30 * time.Second)
		st := s.Status()
		if st.Late < 4900 || st.Late > 5100 || st.Readings+st.Late < 41_900 || st.Readings+st.Late > 41_910 {
			t.Errorf("%d readings and %d late in 41.9 s", st.Readings, st.Late)
		}
		stop()
		b.sound(t)
	})
}

func TestUnknownKind(t *testing.T) {
	if _, err := New(options(newBook(), config.Source{Name: "a", Kind: "nix"})); err == nil || !strings.Contains(err.Error(), `source a: no kind "nix"`) {
		t.Errorf("%v", err)
	}
}
