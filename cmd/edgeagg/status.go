package main

import (
	"math"
	"sync"
	"time"

	"edgeagg/board"
	"edgeagg/internal/page"
	"edgeagg/journal"
)

// rates remembers the counters of the last status.
type rates struct {
	mu        sync.Mutex
	at        time.Time
	in, acked uint64
}

// per gives both counters' rise per second since the last call.
func (p *rates) per(now time.Time, in, acked uint64) (perIn, perOut float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := now.Sub(p.at).Seconds(); !p.at.IsZero() && s > 0 && in >= p.in && acked >= p.acked {
		round := func(v float64) float64 { return math.Round(v*100) / 100 }
		perIn, perOut = round(float64(in-p.in)/s), round(float64(acked-p.acked)/s)
	}
	p.at, p.in, p.acked = now, in, acked
	return perIn, perOut
}

// status appends the JSON object of what the recorder is doing.
func (r *recorder) status(dst []byte) []byte {
	now := time.Now()
	j := r.journal
	s := page.Status{
		At: now.UTC(), Device: r.cfg.Device, Version: version, Boot: journal.ID(r.boot).String(),
		Uptime: math.Round(now.Sub(r.began).Seconds()),
		Clock:  page.Clock{Set: r.clock.Set(), Trust: r.cfg.Clock},
		Journal: page.Journal{
			ID: j.ID().String(), First: j.First(), Next: j.NextSeq(), Synced: j.Synced(), Uploaded: j.Acked(),
			Lost: j.Lost(), Bytes: j.Bytes(), MaxBytes: r.cfg.Journal.MaxBytes,
		},
		Buffer:  page.Buffer{Records: r.buffer.NbProcessing(), Bytes: r.buffer.SizeProcessing(), Waiting: r.buffer.NbWaiting()},
		Sources: make(map[string]page.Source),
	}
	s.In, s.Out = r.rates.per(now, j.Records(), j.Acked())
	if up := now.Sub(r.began); up > time.Minute && j.Written() > 0 {
		days := float64(s.Journal.MaxBytes-s.Journal.Bytes) / (float64(j.Written()) / up.Hours() * 24)
		days = math.Round(max(days, 0)*10) / 10
		s.Journal.DaysFull = &days
	}
	if c, err := board.CardOf(r.cfg.Journal.Dir); err != nil {
		s.Card.Error = err.Error()
	} else {
		s.Card = page.Card{Mount: c.Mount, Type: c.Type, Free: c.Free, Total: c.Total, ReadOnly: c.ReadOnly}
		if why := c.Lasting(); why != nil {
			s.Card.Warning = why.Error()
		}
	}
	if err := r.refused.Load(); err != nil {
		s.Card.Error = (*err).Error()
	}
	if r.uplink != nil {
		s.Uplink = r.uplink.Stats()
	}
	for _, src := range r.sources.Sources() {
		st := src.Status()
		p := page.Source{State: st.State, Readings: st.Readings, Errors: st.Errors, Lost: st.Lost}
		if !st.Last.IsZero() {
			last := st.Last.UTC()
			p.Last = &last
		}
		s.Sources[src.Name()] = p
	}
	return s.Append(dst)
}
