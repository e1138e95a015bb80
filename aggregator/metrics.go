package aggregator

import (
	"strconv"
	"sync/atomic"
	"time"
)

// counts are those counters that are not on the way of each record.
type counts struct {
	tooLong, full            atomic.Uint64
	failed, dropped, retried atomic.Uint64
	errors, panics           atomic.Uint64
	syncs, asyncs, asyncSkip atomic.Uint64
}

// Metrics is a snapshot of an Aggregator. Fields from Accepted on count since
// New and never go back.
type Metrics struct {
	Running  bool
	Uptime   time.Duration
	Capacity int // records the buffer may hold now
	Memory   int // bytes of the buffer's memory, used or not

	Waiting, WaitingBytes       int64 // as NbWaiting, SizeWaiting
	Processing, ProcessingBytes int64 // as NbProcessing, SizeProcessing

	Accepted, AcceptedBytes uint64
	HandedOver              uint64 // records given to FctWriter or FctBatch, each counted once
	Dropped                 uint64 // records given up after a failure or left at the end
	Failed                  uint64 // failed attempts
	Retried                 uint64 // attempts after the first
	Blocked                 uint64 // calls that had to wait for room
	Full                    uint64 // calls that got ErrFull
	TooLong                 uint64 // calls that got ErrTooLong
	Errors                  uint64 // all errors, of which ErrorsList keeps the newest
	Panics                  uint64
	Syncs                   uint64 // runs of SyncFct
	Asyncs                  uint64 // runs of AsyncFct
	AsyncsSkipped           uint64 // ticks that found AsyncMax runs
}

func (a *agg) Metrics() Metrics {
	if !a.ok() {
		return Metrics{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	held, size := between(a.in.Load(), a.out.Load())
	waiting, waitingSize := between(a.waiting.Load(), 0)
	memory := a.buf.size
	if a.buf.ring != nil {
		memory = len(a.buf.mem)
	}
	m := Metrics{
		Running:         a.run != nil,
		Capacity:        int(a.buf.limit),
		Memory:          memory,
		Waiting:         int64(waiting),
		WaitingBytes:    int64(waitingSize),
		Processing:      int64(held),
		ProcessingBytes: int64(size),
		Accepted:        a.buf.inN,
		AcceptedBytes:   a.buf.inLen,
		HandedOver:      a.buf.inN - held - a.unhanded,
		Dropped:         a.count.dropped.Load(),
		Failed:          a.count.failed.Load(),
		Retried:         a.count.retried.Load(),
		Blocked:         a.blocked,
		Full:            a.count.full.Load(),
		TooLong:         a.count.tooLong.Load(),
		Errors:          a.count.errors.Load(),
		Panics:          a.count.panics.Load(),
		Syncs:           a.count.syncs.Load(),
		Asyncs:          a.count.asyncs.Load(),
		AsyncsSkipped:   a.count.asyncSkip.Load(),
	}
	if a.run != nil {
		m.Uptime = time.Since(a.run.began)
	}
	return m
}

// AppendPrometheus appends the snapshot in Prometheus' text format. Each name
// begins with prefix, such as "edgeagg_aggregator"; labels, such as
// `stream="a"`, may be empty.
func (m Metrics) AppendPrometheus(dst []byte, prefix, labels string) []byte {
	running := 0.0
	if m.Running {
		running = 1
	}
	for _, s := range [...]struct {
		name, kind string
		value      float64
	}{
		{"running", "gauge", running},
		{"uptime_seconds", "gauge", m.Uptime.Seconds()},
		{"capacity_records", "gauge", float64(m.Capacity)},
		{"memory_bytes", "gauge", float64(m.Memory)},
		{"waiting_records", "gauge", float64(m.Waiting)},
		{"waiting_bytes", "gauge", float64(m.WaitingBytes)},
		{"processing_records", "gauge", float64(m.Processing)},
		{"processing_bytes", "gauge", float64(m.ProcessingBytes)},
		{"accepted_records_total", "counter", float64(m.Accepted)},
		{"accepted_bytes_total", "counter", float64(m.AcceptedBytes)},
		{"handed_over_records_total", "counter", float64(m.HandedOver)},
		{"dropped_records_total", "counter", float64(m.Dropped)},
		{"failed_attempts_total", "counter", float64(m.Failed)},
		{"retried_attempts_total", "counter", float64(m.Retried)},
		{"blocked_writes_total", "counter", float64(m.Blocked)},
		{"full_writes_total", "counter", float64(m.Full)},
		{"too_long_writes_total", "counter", float64(m.TooLong)},
		{"errors_total", "counter", float64(m.Errors)},
		{"panics_total", "counter", float64(m.Panics)},
		{"sync_runs_total", "counter", float64(m.Syncs)},
		{"async_runs_total", "counter", float64(m.Asyncs)},
		{"async_skipped_total", "counter", float64(m.AsyncsSkipped)},
	} {
		dst = append(dst, "# TYPE "...)
		dst = appendName(dst, prefix, s.name)
		dst = append(dst, ' ')
		dst = append(dst, s.kind...)
		dst = append(dst, '\n')
		dst = appendName(dst, prefix, s.name)
		if labels != "" {
			dst = append(dst, '{')
			dst = append(dst, labels...)
			dst = append(dst, '}')
		}
		dst = append(dst, ' ')
		dst = strconv.AppendFloat(dst, s.value, 'f', -1, 64)
		dst = append(dst, '\n')
	}
	return dst
}

func appendName(dst []byte, prefix, name string) []byte {
	if prefix != "" {
		dst = append(append(dst, prefix...), '_')
	}
	return append(dst, name...)
}
