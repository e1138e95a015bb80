package sensors

import (
	"log/slog"
	"maps"
	"sync"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// Status is what a source is doing.
type Status struct {
	State     string            `json:"state"` // starting, ok, stale, unplugged, error
	Last      time.Time         `json:"last"`  // of the newest reading; zero before the first
	Readings  uint64            `json:"readings"`
	Errors    map[string]uint64 `json:"errors,omitempty"`    // failed attempts as unplugged or error, readings as bad
	Lost      map[string]uint64 `json:"lost,omitempty"`      // records by the reason of their gap, where they can be counted
	Late      uint64            `json:"late,omitempty"`      // ticks that were skipped
	Abandoned uint64            `json:"abandoned,omitempty"` // calls that did not return in time
}

// Source is one running source.
type Source struct {
	cfg  *config.Source
	kind kind
	o    *Options
	log  *slog.Logger

	// the goroutine's own
	buf     []byte
	last    record.Time // of the last record
	stored  stored
	outage  outage
	missing missing
	busy    <-chan struct{} // closed once an abandoned call has returned; nil: none
	tick    int64           // µs since boot at which the next reading is due; 0: none was yet
	again   bool            // the present attempt failed once

	mu      sync.Mutex // over what others see
	newest  []byte
	count   uint64
	state   string
	lastAt  time.Time
	seenAt  time.Time // when the newest reading came, by this process's clock
	errors  map[string]uint64
	lost    map[string]uint64
	late    uint64
	abandon uint64
}

func newSource(c *config.Source, k kind, o *Options) *Source {
	return &Source{
		cfg: c, kind: k, o: o, log: o.Log.With("source", c.Name), state: "starting",
		errors: make(map[string]uint64), lost: make(map[string]uint64),
	}
}

// Name is the source's name.
func (s *Source) Name() string { return s.cfg.Name }

// Newest copies the newest reading's binary record, also one that found no
// room, behind dst; n counts the readings so far.
func (s *Source) Newest(dst []byte) (payload []byte, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(dst, s.newest...), s.count
}

// Meta appends what does not change: the JSON object of the topic meta.
func (s *Source) Meta(dst []byte) []byte {
	dst = record.AppendQuoted(append(dst, `{"kind":`...), s.cfg.Kind)
	if key, value := s.kind.place(s.cfg); key != "" {
		dst = append(record.AppendQuoted(append(dst, ','), key), ':')
		dst = record.AppendQuoted(dst, value)
	}
	dst = append(dst, `,"fields":[`...)
	for i, f := range s.kind.fields(s.cfg) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = record.AppendQuoted(append(dst, `{"name":`...), f.Name)
		if f.Unit != "" {
			dst = record.AppendQuoted(append(dst, `,"unit":`...), f.Unit)
		}
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

// Status is a snapshot.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{
		State: s.state, Last: s.lastAt, Readings: s.count, Late: s.late, Abandoned: s.abandon,
		Errors: maps.Clone(s.errors), Lost: maps.Clone(s.lost),
	}
	if st.State == "ok" && s.cfg.Stale > 0 && time.Since(s.seenAt) > s.cfg.Stale {
		st.State = "stale"
	}
	return st
}

func (s *Source) setState(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == "ok" && s.state != "ok" {
		s.seenAt = time.Now()
	}
	s.state = state
}

// add counts for Status; which is one of the source's counters.
func (s *Source) add(which *uint64, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*which += uint64(n)
}

// addTo is add for one of the source's maps.
func (s *Source) addTo(m map[string]uint64, key string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m[key] += uint64(n)
}

// scheduled reports whether it is known when readings are due.
func (s *Source) scheduled() bool { return s.kind.way == polled || s.cfg.Poll != "" }
