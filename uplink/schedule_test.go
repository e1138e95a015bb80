package uplink

import (
	"math"
	"testing"
	"time"
	_ "time/tzdata" // zones where the machine has none

	"edgeagg/internal/config"
)

func span(from, to int) []config.Span { return []config.Span{{From: from, To: to}} }

// Hours are those of the wall clock, also in the nights that change it.
func TestWithin(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	utc := func(mo time.Month, d, h, m int) time.Time {
		return time.Date(2026, mo, d, h, m, 0, 0, time.UTC).In(berlin)
	}
	for _, x := range []struct {
		what  string
		spans []config.Span
		now   time.Time
		want  bool
	}{
		{"no spans", nil, utc(6, 1, 12, 0), true},
		{"at the first minute", span(60, 300), utc(5, 31, 23, 0), true},
		{"just before", span(60, 300), utc(5, 31, 22, 59), false},
		{"at the last minute", span(60, 300), utc(6, 1, 2, 59), true},
		{"just after", span(60, 300), utc(6, 1, 3, 0), false},
		{"over midnight, before it", span(23*60, 60), utc(6, 1, 21, 30), true},
		{"over midnight, behind it", span(23*60, 60), utc(6, 1, 22, 59), true},
		{"over midnight, after", span(23*60, 60), utc(6, 1, 23, 0), false},
		{"the second of two", append(span(60, 120), span(600, 660)...), utc(6, 1, 8, 30), true},
		// 29 March 2026: 01:59:59 CET is followed by 03:00 CEST.
		{"spring, last minute before", span(120, 180), utc(3, 29, 0, 59), false},
		{"spring, the hour that is not", span(120, 180), utc(3, 29, 1, 0), false},
		{"spring, into the next hour", span(120, 210), utc(3, 29, 1, 10), true},
		// 25 October 2026: 02:00–02:59 comes twice.
		{"autumn, first time", span(120, 180), utc(10, 25, 0, 30), true},
		{"autumn, second time", span(120, 180), utc(10, 25, 1, 30), true},
		{"autumn, after", span(120, 180), utc(10, 25, 2, 0), false},
	} {
		if got := within(x.spans, x.now); got != x.want {
			t.Errorf("%s: %v at %v", x.what, got, x.now)
		}
	}
}

func TestDay(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 10, 25, 0, 30, 0, 0, berlin) // a day of 25 hours
	d := day{limit: 10_000, wall: func() time.Time { return now }}
	if !d.takes(10_000-lastWords) || d.takes(10_000-lastWords+1) {
		t.Error("the bound is not where it should be")
	}
	if d.takes(0) {
		t.Error("once over, the day has to stay over")
	}
	if got, want := d.over(), 24*time.Hour+30*time.Minute+time.Second; got != want {
		t.Errorf("over for %v, want %v", got, want)
	}
	now = now.Add(d.over())
	if d.over() != 0 || d.sent() != 0 {
		t.Error("the next day did not begin anew")
	}
	d.add(6000)
	d.fly(1000)
	if got := d.history(); got != 10_000-625-lastWords-6000-1000 {
		t.Errorf("%d bytes for history", got)
	}
	if d.takes(4000-lastWords-999) || d.over() != 0 {
		t.Error("what flies is not kept free, or ends the day")
	}
	d.fly(-1000)
	if !d.takes(4000 - lastWords - 999) {
		t.Error("what has landed is still kept free")
	}
	none := day{wall: d.wall}
	none.add(1 << 50)
	if none.over() != 0 || none.history() != math.MaxInt64 {
		t.Error("no bound, and yet one")
	}
}

func TestBudget(t *testing.T) {
	now := time.Now()
	b := newBudget(&config.Uplink{MaxBytes: 1000, Rate: 100})
	if got := b.room(8192, math.MaxInt64); got != 8192 {
		t.Errorf("the first message has room for %d", got)
	}
	if b.wait(now) != 0 {
		t.Error("the first message has to wait")
	}
	b.take(400, now)
	if got := b.wait(now); got != 4*time.Second {
		t.Errorf("400 bytes at 100 a second: wait of %v", got)
	}
	if got := b.room(8192, math.MaxInt64); got != 600 {
		t.Errorf("room for %d", got)
	}
	if got := b.room(8192, 50); got != 50 {
		t.Errorf("room for %d, the day has 50", got)
	}
	now = now.Add(time.Minute)
	b.take(100, now) // what was not used is not saved up
	if got := b.wait(now); got != time.Second {
		t.Errorf("wait of %v", got)
	}
	b.take(600, now)
	if got := b.room(8192, math.MaxInt64); got != 0 {
		t.Errorf("room for %d behind the end", got)
	}
	free := newBudget(&config.Uplink{})
	free.take(1<<30, now)
	if free.room(8192, math.MaxInt64) != 8192 || free.wait(now) != 0 {
		t.Error("no bound, and yet one")
	}
}
