package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edgeagg/board"
	"edgeagg/internal/config"
)

// BenchmarkPtyToCard is the way of a reading from a tty to the card, in this
// process: CPU time (the writing of the lines included), allocations, and
// bytes written to the segment per reading.
func BenchmarkPtyToCard(b *testing.B) {
	far, err := openScale()
	if err != nil {
		b.Fatal(err)
	}
	far.stop() // the lines are the benchmark's
	defer far.close()
	id := board.Identify("")
	cfg, _, err := config.Parse("bench", fmt.Appendf(nil, `
clock = "trust"
[journal]
dir = %q
sync = "1s"
min_free = "1MiB"
[[source]]
name = "s"
kind = "serial"
port = %q
baud = 921600
parse = "csv"
fields = ["temperature Cel", "humidity %%RH", "pressure Pa"]
`, filepath.Join(b.TempDir(), "j"), far.port), configIdentity(id))
	if err != nil {
		b.Fatal(err)
	}
	r, err := openRecorder(cfg, id, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.run(ctx) }()
	src := r.sources.Sources()[0]
	for src.Status().State != "ok" {
		time.Sleep(time.Millisecond)
	}
	read := func(n uint64) {
		for src.Status().Readings < n {
			time.Sleep(200 * time.Microsecond)
		}
	}
	line := []byte("21.53,48.2,101325\n")
	if _, err := far.far.Write(line); err != nil {
		b.Fatal(err)
	}
	read(1)
	written, records := r.journal.Written(), r.journal.Records()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := cpuTime(b)
	b.ResetTimer()
	for range b.N {
		if _, err := far.far.Write(line); err != nil {
			b.Fatal(err)
		}
	}
	read(uint64(b.N) + 1)
	b.StopTimer()
	cpu = cpuTime(b) - cpu
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-µs/reading")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N), "mallocs/reading")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(r.journal.Written()-written)/float64(max(1, r.journal.Records()-records)), "B-written/reading")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
