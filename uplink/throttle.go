package uplink

import "time"

const (
	// slowAck is the time, beyond a bare round trip, from which on an
	// acknowledgement says that too much is on its way: a live value waits
	// behind it.
	slowAck = time.Second
	// quickAck lets messages grow, and what flies grow fast.
	quickAck = slowAck / 4
	// mostFlying bounds the bytes that are sent and not acknowledged.
	mostFlying = 256 << 10
	// firstMessage is the size of messages before the line is known.
	firstMessage = 2 << 10
	// smallest is what messages shrink to, unless uplink.message is smaller.
	smallest = 512
)

// throttle adapts what is in flight, and the size of messages, to the line:
// one message more for each quick acknowledgement, half once a slow one comes,
// and from then on one more a round trip.
type throttle struct {
	most    int // bytes of a message by config
	ceiling int // and by what the broker takes
	message int // now
	limit   int // bytes in flight
	cut     time.Time
}

func newThrottle(most int) throttle {
	first := min(most, firstMessage)
	return throttle{most: most, ceiling: most, message: first, limit: first}
}

// acked notes an acknowledgement that took so long, over a line whose bare
// round trip is rtt.
func (t *throttle) acked(sent time.Time, took, rtt time.Duration) {
	switch delay := took - rtt; {
	case delay <= slowAck:
		more := t.message
		if delay > quickAck || !t.cut.IsZero() { // near the line's measure: one more a round trip
			more = int(max(1, int64(t.message)*int64(t.message)/int64(t.limit)))
		}
		t.limit = min(t.limit+more, max(mostFlying, t.message))
		if delay <= quickAck {
			t.message = min(t.message*2, t.ceiling, max(t.limit, t.message))
		}
	case sent.After(t.cut): // else it was under way when the limit was last cut
		t.cut = sent.Add(took)
		t.limit /= 2
		if t.limit < t.message {
			t.shrink(2)
		}
	}
}

// shrink makes messages smaller, and has one of them in flight.
func (t *throttle) shrink(by int) {
	t.message = max(min(smallest, t.most), t.message/by)
	t.limit = t.message
}

// cap lowers what the broker is believed to take.
func (t *throttle) cap(ceiling int) {
	t.ceiling = max(min(smallest, t.most), min(t.ceiling, ceiling))
	t.message = min(t.message, t.ceiling)
}
