package uplink

import (
	"time"

	"edgeagg/internal/record"
)

// lives publishes the newest reading of each source that has a new one, and
// once more over each new connection, since a broker may have lost it.
type lives struct {
	over    *conn
	sources []lived
	p       []byte
	d       record.Decoder
	r       record.Record
}

// lived is what was published last of one source.
type lived struct {
	n  uint64 // of its readings
	at time.Time
}

// publish may be called more often than each uplink.live.
func (l *lives) publish(u *Uplink, c *conn) {
	now := time.Now()
	if u.o.Config.Live == 0 || !u.inHours() {
		return
	}
	if l.sources == nil {
		l.sources = make([]lived, len(u.o.Sources))
	}
	if l.over != c {
		l.over = c
		for i := range l.sources {
			l.sources[i].n = 0
		}
	}
	for i, s := range u.o.Sources {
		was := &l.sources[i]
		p, n := s.Newest(l.p[:0])
		l.p = p
		// A tick may come a little early.
		if n == was.n || len(p) == 0 || now.Sub(was.at) < u.o.Config.Live*9/10 {
			continue
		}
		if err := l.d.Decode(p, &l.r); err != nil {
			u.log.Error("live value", "source", s.Name(), "err", err)
			was.n = n
			continue
		}
		m := &message{topic: u.topic("live/" + s.Name()), retained: true, payload: record.AppendJSON(nil, &l.r)}
		select {
		case c.urgent <- m:
			was.n, was.at = n, now
		default: // the line is full: the next tick has a newer one
			return
		}
	}
}
