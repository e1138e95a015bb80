package uplink

import (
	"testing"
	"time"
)

// sim sends through a line of so many bytes a second with a round trip of rtt,
// as fast as the throttle lets it, and gives the longest that a byte waited
// behind others, and the share of the line that was used.
func sim(th *throttle, rate float64, rtt time.Duration) (worst time.Duration, used float64) {
	type msg struct {
		bytes      int
		sent, done time.Duration
	}
	var now, free time.Duration
	var flying []msg
	bytes, acked := 0, 0
	epoch := time.Unix(0, 0)
	const end = 300 * time.Second
	for now < end {
		for len(flying) == 0 || bytes+th.message <= th.limit {
			free = max(free, now) + time.Duration(float64(th.message)/rate*float64(time.Second))
			flying = append(flying, msg{th.message, now, free + rtt})
			bytes += th.message
			worst = max(worst, free-now)
		}
		m := flying[0]
		flying = flying[1:]
		now = m.done
		bytes -= m.bytes
		acked += m.bytes
		th.acked(epoch.Add(m.sent), now-m.sent, rtt)
	}
	return worst, float64(acked) / rate / end.Seconds()
}

// On every line a live value waits for less than 2 s behind history, and the
// line is used.
func TestThrottle(t *testing.T) {
	for _, x := range []struct {
		what string
		rate float64
		rtt  time.Duration
		used float64
	}{
		{"2.5 kB/s", 2500, 300 * time.Millisecond, 0.6},
		{"6 kB/s", 6000, 200 * time.Millisecond, 0.7},
		{"satellite", 60_000, 1500 * time.Millisecond, 0.8},
		{"100 kB/s", 100_000, 50 * time.Millisecond, 0.9},
	} {
		th := newThrottle(8 << 10)
		worst, used := sim(&th, x.rate, x.rtt)
		t.Logf("%s: %v behind history at worst, %.0f %% of the line used, messages of %d bytes", x.what, worst, 100*used, th.message)
		if worst > 2*time.Second {
			t.Errorf("%s: a live value waits %v", x.what, worst)
		}
		if used < x.used {
			t.Errorf("%s: %.0f %% of the line used", x.what, 100*used)
		}
	}
	th := newThrottle(8 << 10)
	if sim(&th, 1e7, 10*time.Millisecond); th.limit != mostFlying {
		t.Errorf("%d bytes in flight on a fast line", th.limit)
	}
}

// One look at a slow line halves once, however many messages tell it.
func TestThrottleHalvesOncePerRoundTrip(t *testing.T) {
	th := newThrottle(1024)
	at := time.Unix(0, 0)
	for range 15 {
		th.acked(at, 0, 0)
	}
	if th.limit != 16<<10 {
		t.Fatalf("%d bytes in flight", th.limit)
	}
	for range 16 {
		th.acked(at, 3*time.Second, 0)
	}
	if th.limit != 8<<10 || th.message != 1024 {
		t.Errorf("%d in flight, messages of %d", th.limit, th.message)
	}
	th.acked(at.Add(4*time.Second), 3*time.Second, 0)
	if th.limit != 4<<10 {
		t.Errorf("%d in flight", th.limit)
	}
}

// A restart of a broker that took such messages before says nothing about size.
func TestSuspicionOfSoundSize(t *testing.T) {
	var s suspicion
	th := newThrottle(8 << 10)
	now := time.Unix(0, 0)
	s.acked(1, 100, 8000, &th, now)
	if s.closed(101, 200, 8000, false, &th, now) || th.ceiling != 8<<10 {
		t.Errorf("ceiling %d", th.ceiling)
	}
	if one, alone := s.one(150); !one || alone {
		t.Error("the next messages have to fly one at a time")
	}
	s.acked(101, 120, 2000, &th, now)
	if one, _ := s.one(121); !one {
		t.Error("the suspicion ended before its end")
	}
	s.acked(121, 200, 8000, &th, now)
	if one, _ := s.one(201); one {
		t.Error("the suspicion does not end")
	}
	// A smaller bound is tried again after a while, not before.
	s.closed(201, 300, 8192, false, &th, now)
	s.closed(201, 220, 2048, false, &th, now)
	low := th.ceiling
	s.acked(201, 300, 500, &th, now.Add(time.Minute))
	if th.ceiling != low || low > 1024 {
		t.Errorf("ceiling %d, then %d", low, th.ceiling)
	}
	s.acked(301, 310, 500, &th, now.Add(retryCeiling+time.Minute))
	if th.ceiling != 2*low {
		t.Errorf("ceiling %d after an hour", th.ceiling)
	}
}
