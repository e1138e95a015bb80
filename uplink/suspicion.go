package uplink

import "time"

const (
	// kills is how often a record may end the connection, sent alone, before
	// it is put aside.
	kills = 3
	// retryCeiling is when bigger messages are tried again after the broker
	// has closed the connection on one.
	retryCeiling = time.Hour
)

// suspicion looks at what was in flight when a broker closed the connection.
// If it does so again and again on the same record, messages get smaller until
// that record goes alone, and then it is put aside.
type suspicion struct {
	first uint64    // of the message that was the oldest in flight; 0: none
	last  uint64    // up to here one message flies at a time
	kills int       // in a row on that first
	alone int       // of these, when the record was sent alone
	sound int       // bytes of the biggest message acknowledged
	since time.Time // when the ceiling was last moved
}

// one reports whether the record numbered seq has to fly in a message that is
// alone on its way, and whether it has to be alone in it.
func (s *suspicion) one(seq uint64) (message, record bool) {
	message = s.first != 0 && seq <= s.last
	return message, message && s.kills >= kills
}

// acked notes an acknowledged message.
func (s *suspicion) acked(first, last uint64, bytes int, t *throttle, now time.Time) {
	s.sound = max(s.sound, bytes)
	if s.first != 0 && first <= s.first {
		s.first = last + 1
		s.alone = 0
		if last >= s.last {
			s.first, s.kills = 0, 0
		}
	}
	if t.ceiling < t.most && now.Sub(s.since) > retryCeiling {
		t.ceiling, s.since = min(2*t.ceiling, t.most), now
	}
}

// closed notes that the broker closed the connection while the message of
// records first to last was the oldest in flight, together with others or not.
// It reports whether to put aside that message, which is one record.
func (s *suspicion) closed(first, last uint64, bytes int, others bool, t *throttle, now time.Time) (aside bool) {
	if first != s.first {
		s.last, s.kills, s.alone = max(s.last, last), 0, 0
		s.first = first
	}
	if s.kills++; s.kills > 1 {
		s.sound = 0 // what was sound before proves nothing for this broker
	}
	if bytes > s.sound {
		t.cap(max(s.sound, bytes/2))
		s.since = now
	}
	t.shrink(4)
	if first == last && !others {
		s.alone++
	}
	if s.alone < kills {
		return false
	}
	if bytes <= smallest { // its size was not the reason
		t.ceiling = t.most
	}
	*s = suspicion{sound: s.sound, since: s.since}
	return true
}
