package aggregator

import (
	"fmt"
	"io"
)

// Metrics is a snapshot of an Aggregator's counters, which only ever rise, and
// of its gauges.
type Metrics struct {
	Accepted, AcceptedBytes uint64 // records that Write took
	Written, WrittenBytes   uint64 // records that FctWriter took
	Dropped                 uint64 // accepted records that were given up
	Full                    uint64 // TryWrite calls that found no room
	Errors                  uint64 // of all callbacks
	Panics                  uint64 // of all callbacks
	Syncs, Asyncs           uint64 // calls of SyncFct and AsyncFct

	Waiting, WaitingBytes       int64
	Processing, ProcessingBytes int64
}

func (a *agg) Metrics() Metrics {
	if !a.ok() {
		return Metrics{}
	}
	c := &a.count
	return Metrics{
		Accepted: c.accepted.Load(), AcceptedBytes: c.acceptedBytes.Load(),
		Written: c.written.Load(), WrittenBytes: c.writtenBytes.Load(),
		Dropped: c.dropped.Load(), Full: c.full.Load(), Errors: c.errors.Load(), Panics: c.panics.Load(),
		Syncs: c.syncs.Load(), Asyncs: c.asyncs.Load(),
		Waiting: a.waitNb.Load(), WaitingBytes: a.waitLen.Load(),
		Processing: a.held.Load(), ProcessingBytes: a.heldLen.Load(),
	}
}

// WritePrometheus writes m in Prometheus' text format, each name behind prefix.
func (m Metrics) WritePrometheus(w io.Writer, prefix string) error {
	for _, v := range []struct {
		name, kind string
		value      any
	}{
		{"accepted_records_total", "counter", m.Accepted},
		{"accepted_bytes_total", "counter", m.AcceptedBytes},
		{"written_records_total", "counter", m.Written},
		{"written_bytes_total", "counter", m.WrittenBytes},
		{"dropped_records_total", "counter", m.Dropped},
		{"full_total", "counter", m.Full},
		{"errors_total", "counter", m.Errors},
		{"panics_total", "counter", m.Panics},
		{"syncs_total", "counter", m.Syncs},
		{"asyncs_total", "counter", m.Asyncs},
		{"waiting_records", "gauge", m.Waiting},
		{"waiting_bytes", "gauge", m.WaitingBytes},
		{"processing_records", "gauge", m.Processing},
		{"processing_bytes", "gauge", m.ProcessingBytes},
	} {
		if _, err := fmt.Fprintf(w, "# TYPE %s%s %s\n%s%s %v\n", prefix, v.name, v.kind, prefix, v.name, v.value); err != nil {
			return err
		}
	}
	return nil
}
