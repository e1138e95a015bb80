package sensors

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// asked plays a device that answers to polls, or does not.
type asked struct {
	mu     sync.Mutex
	mute   bool
	gone   bool
	broken bool          // it can be opened, but not read
	hang   chan struct{} // fill waits for it
	late   time.Duration // of an answer
	polls  []time.Time
	opened int
	answer chan struct{}
	ready  bool
}

func (a *asked) open(*config.Source, *Options) (driver, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return nil, errGone
	}
	a.opened++
	a.ready = false
	a.answer = make(chan struct{}, 10)
	return a, nil
}

func (a *asked) ask() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.polls = append(a.polls, time.Now())
	if !a.mute {
		c := a.answer
		time.AfterFunc(a.late, func() { c <- struct{}{} })
	}
	return nil
}

func (a *asked) fill(limit time.Duration) error {
	a.mu.Lock()
	gone, c, hang := a.gone || a.broken, a.answer, a.hang
	a.mu.Unlock()
	wait(hang)
	if gone {
		return errGone
	}
	select {
	case <-c:
	default:
		select {
		case <-c:
		case <-time.After(limit):
			return errIdle
		}
	}
	a.ready = true
	return nil
}

func (a *asked) Read(r *record.Record) error {
	if !a.ready {
		return errIdle
	}
	a.ready = false
	r.Fields = append(r.Fields, number("n", 1))
	return nil
}

func (a *asked) Close() error { return nil }

// openings is how often it was opened.
func (a *asked) openings() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.opened
}

// send has it send by itself.
func (a *asked) send() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer <- struct{}{}
}

func (a *asked) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func playAsked(t *testing.T, b *book, a *asked, c config.Source) (*Source, func()) {
	t.Helper()
	o := options(b)
	c.Name = "asked"
	s := newSource(&c, kind{sends, a.open, onBus, configured}, &o)
	return s, runSet(t, &Set{sources: []*Source{s}})
}

func polls(d time.Duration) config.Source {
	c := every(d)
	c.Poll = "?"
	return c
}

// Polls keep to the clock, also beside a slow answer.
func TestPollsKeepToTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := newBook(), &asked{late: 70 * time.Millisecond}
		time.Sleep(333 * time.Millisecond)
		s, stop := playAsked(t, b, a, polls(time.Second))
		time.Sleep(time.Minute)
		stop()
		if got := tale(b); got != "61 readings" && got != "60 readings" {
			t.Error(got)
		}
		for i, p := range a.polls[1:] {
			if p.UnixMicro()%1_000_000 != 0 {
				t.Errorf("poll %d at %v", i+1, p)
			}
		}
		if st := s.Status(); st.Late != 0 {
			t.Errorf("status %+v", st)
		}
		b.sound(t)
	})
}

// A poll that is not answered is a reading that is missing. The first time the
// port stays open.
func TestPollWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := newBook(), &asked{}
		c := polls(time.Second)
		c.Timeout = 300 * time.Millisecond
		s, stop := playAsked(t, b, a, c)
		time.Sleep(5500 * time.Millisecond) // at 0 and 5 ticks
		a.set(func() { a.mute = true })
		time.Sleep(time.Second)
		if st := s.Status(); st.State != "error" || a.openings() != 1 {
			t.Errorf("%+v, opened %d times", st, a.openings())
		}
		a.set(func() { a.mute = false })
		time.Sleep(5 * time.Second)
		if got := tale(b); got != "6 readings, failed, error gap of 1, back, 5 readings" || a.openings() != 1 {
			t.Errorf("%s, opened %d times", got, a.openings())
		}
		a.set(func() { a.mute = true })
		time.Sleep(20 * time.Second)
		if a.openings() == 1 {
			t.Error("the port was not opened anew")
		}
		a.set(func() { a.mute = false })
		time.Sleep(5 * time.Second)
		a.set(func() { a.gone = true })
		time.Sleep(10 * time.Second)
		a.set(func() { a.gone = false })
		time.Sleep(5 * time.Second)
		stop()
		b.sound(t)
		// All ticks are accounted for: 0 to 51 s.
		n := int64(0)
		for _, r := range b.all() {
			if r.Kind == record.Reading {
				n++
			}
			n += r.Count
		}
		if n != 52 {
			t.Errorf("%d ticks in 51.5 s: %s", n, tale(b))
		}
		if events := len(b.of(record.Event)); events != 6 {
			t.Errorf("%d events: %s", events, tale(b))
		}
		if st := s.Status(); st.Lost[record.Unplugged] < 9 || st.Lost[record.Unplugged] > 11 || st.Lost[record.Error] < 21 || st.Lost[record.Error] > 23 {
			t.Errorf("status %+v", st)
		}
	})
}

// A port that can be opened but not read has not come back.
func TestPortThatCannotBeReadStaysUnplugged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := newBook(), &asked{broken: true}
		s, stop := playAsked(t, b, a, config.Source{Timeout: time.Second})
		time.Sleep(time.Minute)
		if st := s.Status(); st.State != "unplugged" || a.openings() < 30 {
			t.Errorf("%+v, opened %d times", st, a.openings())
		}
		a.set(func() { a.broken = false })
		time.Sleep(10 * time.Second)
		stop()
		if got := tale(b); got != "unplugged, unplugged gap of -1, plugged" || s.Status().State != "ok" {
			t.Errorf("%s, %+v", got, s.Status())
		}
	})
}

// A read that hangs in the kernel is left alone; the gap of a device that
// sends by itself has no count.
func TestStreamThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := newBook(), &asked{}
		s, stop := playAsked(t, b, a, config.Source{Timeout: time.Second})
		time.Sleep(time.Second)
		hang := make(chan struct{})
		a.set(func() { a.hang = hang })
		time.Sleep(time.Minute)
		if st := s.Status(); st.State != "error" || st.Abandoned != 1 || a.openings() != 1 {
			t.Errorf("%+v, opened %d times", st, a.openings())
		}
		a.set(func() { a.hang = nil })
		close(hang)
		time.Sleep(time.Minute)
		if got := tale(b); got != "failed, error gap of -1, back" {
			t.Error(got)
		}
		again := make(chan struct{})
		a.set(func() { a.hang = again })
		time.Sleep(200 * time.Millisecond)
		asked := time.Now()
		stop()
		if took := time.Since(asked); took > 1100*time.Millisecond {
			t.Errorf("the end took %v", took)
		}
		close(again)
		time.Sleep(time.Second) // until the call that hung is over
	})
}

// A port that is back, but whose device does not answer yet, is not unplugged
// any more.
func TestPollAfterReplugWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := newBook(), &asked{gone: true, mute: true}
		s, stop := playAsked(t, b, a, polls(time.Minute))
		time.Sleep(time.Hour)
		a.set(func() { a.gone = false })
		time.Sleep(10 * time.Second)
		if got := tale(b); !strings.HasSuffix(got, "unplugged, unplugged gap of 60, plugged") && !strings.HasSuffix(got, "unplugged, unplugged gap of 61, plugged") {
			t.Error(got)
		}
		time.Sleep(2 * time.Minute)
		if st := s.Status(); st.State != "error" {
			t.Errorf("state %s", st.State)
		}
		stop()
		b.sound(t)
	})
}

// What overflowed is told once there is room, also when nothing more comes.
func TestOverflowOfAStreamIsToldInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := newBook(), &asked{}
		_, stop := playAsked(t, b, a, config.Source{Timeout: time.Second})
		time.Sleep(time.Second)
		b.fill(true)
		for range 3 {
			a.send()
			time.Sleep(time.Second)
		}
		b.fill(false)
		time.Sleep(time.Second)
		if got := tale(b); got != "overflow gap of 3" {
			t.Error(got)
		}
		stop()
		b.sound(t)
	})
}

// At the end, what has come by then is read.
func TestStreamIsReadOnceMoreAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := newBook(), &asked{}
		_, stop := playAsked(t, b, a, config.Source{Timeout: time.Second})
		time.Sleep(1050 * time.Millisecond)
		for range 3 { // each read takes one of them
			a.send()
		}
		stop()
		if got := tale(b); got != "3 readings" {
			t.Error(got)
		}
	})
}
