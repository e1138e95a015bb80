package sensors

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgeagg/internal/record"
)

// numbers are the readings' numbers, and how many the overflow gaps count. The
// device numbers what was read from 1 on.
func numbers(b *book) (read []int64, lost int64) {
	for _, r := range b.all() {
		switch {
		case r.Kind == record.Reading:
			read = append(read, r.Fields[0].Int)
		case r.Reason == record.Overflow:
			lost += r.Count
		}
	}
	return read, lost
}

// What finds no room is counted to the last reading, and told as soon as there
// is room: the gap stands where the readings would.
func TestOverflowIsCountedExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{}
		s, stop := play(t, options(b), counted, every(10*time.Millisecond), d)
		for range 3 {
			time.Sleep(993 * time.Millisecond)
			b.fill(true)
			time.Sleep(730 * time.Millisecond)
			b.fill(false)
		}
		time.Sleep(time.Second)
		stop()
		b.sound(t)
		read, lost := numbers(b)
		if len(read)+int(lost) != d.reads || lost != 3*73 {
			t.Errorf("%d read, %d written, %d counted as lost", d.reads, len(read), lost)
		}
		if st := s.Status(); st.Lost[record.Overflow] != uint64(lost) || st.Readings != uint64(d.reads) {
			t.Errorf("status %+v", st)
		}
		// Each gap lies between the readings on its sides.
		at := int64(0)
		for i, r := range b.all() {
			if r.Kind == record.Reading {
				if r.Fields[0].Int != at+1 {
					t.Errorf("reading %d behind %d", r.Fields[0].Int, at)
				}
				at++
				continue
			}
			at += r.Count
			before, after := b.recs[i-1].Time, b.recs[i+1].Time
			if r.From.Mono <= before.Mono || r.To.Mono >= r.Time.Mono || r.Time.Mono >= after.Mono || r.To.Mono-r.From.Mono != 720_000 {
				t.Errorf("gap from %v to %v at %v, between %v and %v", r.From, r.To, r.Time, before, after)
			}
		}
	})
}

// A polled source waits for room, but not into its next tick: it goes on
// reading, and its newest reading stays new.
func TestPolledSourceGoesOnWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{}
		s, stop := play(t, options(b), polled, every(time.Second), d)
		time.Sleep(2500 * time.Millisecond)
		b.fill(true)
		time.Sleep(time.Second)
		b.fill(false) // in time: nothing is lost
		time.Sleep(time.Second)
		if got := tale(b); got != "5 readings" {
			t.Error(got)
		}
		b.fill(true)
		time.Sleep(10 * time.Second)
		if _, n := s.Newest(nil); n != 15 {
			t.Errorf("%d readings while there is no room", n)
		}
		if st := s.Status(); st.Late != 0 || st.State != "ok" {
			t.Errorf("status %+v", st)
		}
		b.fill(false)
		time.Sleep(10 * time.Second)
		stop()
		b.sound(t)
		read, lost := numbers(b)
		if len(read)+int(lost) != d.reads || lost != 9 {
			t.Errorf("%d read, %d written, %d counted as lost: %s", d.reads, len(read), lost, tale(b))
		}
	})
}

// Events and gaps wait for room, and their order is kept.
func TestEventsAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{}
		_, stop := play(t, options(b), counted, every(time.Second), d)
		time.Sleep(2500 * time.Millisecond) // at 0, 1 and 2 s
		b.fill(true)
		time.Sleep(2 * time.Second) // 3 and 4 s are lost
		d.set(func() { d.err, d.openErr = errGone, errGone })
		time.Sleep(10 * time.Second)
		d.set(func() { d.err, d.openErr = nil, nil })
		time.Sleep(5 * time.Second)
		b.fill(false)
		time.Sleep(2 * time.Second)
		stop()
		b.sound(t)
		got := tale(b)
		if !strings.HasPrefix(got, "3 readings, unplugged, unplugged gap of -1, plugged, overflow gap of ") {
			t.Error(got)
		}
		read, lost := numbers(b)
		if failed := d.get(func() int { return d.reads }) - len(read) - int(lost); failed != 1 {
			t.Errorf("%d reads are not accounted for, expected the one that failed: %s", failed, got)
		}
	})
}

// A device that comes and goes while there is no room costs bounded memory;
// what cannot be held is counted.
func TestEventsAreHeldWithABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newBook(), &device{}
		s, stop := play(t, options(b), counted, every(20*time.Second), d)
		time.Sleep(time.Second)
		b.fill(true)
		for range 50 {
			d.set(func() { d.err = errGone })
			time.Sleep(30 * time.Second)
			d.set(func() { d.err = nil })
			time.Sleep(30 * time.Second)
		}
		b.fill(false)
		time.Sleep(30 * time.Second)
		stop()
		b.sound(t)
		held := 0
		for _, r := range b.all() {
			if r.Reason == record.Unplugged || r.Event != "" {
				held++
			}
		}
		_, lost := numbers(b)
		if held < maxHeld || held > maxHeld+3 || lost < 80 || s.Status().Lost[record.Overflow] != uint64(lost) {
			t.Errorf("%d held, %d counted as lost", held, lost)
		}
	})
}

// At the end what is missing is written, if there is room in time.
func TestEndWritesWhatIsMissing(t *testing.T) {
	for _, room := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b, d := newBook(), &device{}
			_, stop := play(t, options(b), counted, every(time.Second), d)
			time.Sleep(1500 * time.Millisecond)
			b.fill(true)
			time.Sleep(3 * time.Second)
			d.set(func() { d.err = errors.New("fails") })
			time.Sleep(2 * time.Second)
			if room {
				go func() {
					time.Sleep(300 * time.Millisecond)
					b.fill(false)
				}()
			}
			asked := time.Now()
			stop()
			if took := time.Since(asked); took > 1100*time.Millisecond {
				t.Errorf("the end took %v", took)
			}
			want := "2 readings"
			if room {
				want = "2 readings, failed, error gap of -1, overflow gap of 3"
			}
			if got := tale(b); got != want {
				t.Errorf("%s, expected %s", got, want)
			}
			b.sound(t)
		})
	}
}

// Readings that came at one moment, or while the wall clock went back, have
// times of their own.
func TestTimesRise(t *testing.T) {
	o := options(newBook())
	c := every(time.Second)
	s := newSource(&c, kind{}, &o)
	at := func(wall, mono int64, set bool) record.Time { return record.Time{Wall: wall, Mono: mono, Set: set} }
	tests := []struct{ in, want record.Time }{
		{at(100, 10, false), at(100, 10, false)},
		{at(100, 10, false), at(101, 11, false)},
		{at(50, 12, false), at(102, 12, false)},
		{at(40, 13, true), at(40, 13, true)}, // the clock was set
		{at(39, 13, true), at(41, 14, true)},
		{at(900, 5, true), at(900, 15, true)},
		{at(900, 16, true), at(901, 16, true)},
	}
	for i, test := range tests {
		if got := s.rising(test.in); got != test.want {
			t.Errorf("%d: %+v became %+v, expected %+v", i, test.in, got, test.want)
		}
	}
}
