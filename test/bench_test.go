package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkResident runs 10 sources at 10 readings/s each, with a broker, and
// prints what the process takes.
func BenchmarkResident(b *testing.B) {
	br := newBroker(b)
	var conf strings.Builder
	fmt.Fprintf(&conf, "clock = \"trust\"\n[journal]\ndir = %q\nsync = \"1s\"\nmin_free = \"1MiB\"\n[uplink]\nbroker = %q\nevery = \"1s\"\nlive = \"1s\"\n", filepath.Join(b.TempDir(), "j"), br.url())
	for i := range 10 {
		fmt.Fprintf(&conf, "[[source]]\nname = \"s%d\"\nkind = \"simulate\"\nfields = [\"temperature Cel\", \"humidity %%RH\", \"pressure Pa\"]\nevery = \"100ms\"\n", i)
	}
	name := filepath.Join(b.TempDir(), "edgeagg.toml")
	if err := os.WriteFile(name, []byte(conf.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	p := start(b, edgeagg, "run", "-c", name)
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(p.output(), "connected") && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	const seconds = 15
	at := ticks(b, p.cmd.Process.Pid)
	time.Sleep(seconds * time.Second) // what is measured is a rate
	used := ticks(b, p.cmd.Process.Pid) - at
	b.ReportMetric(status(b, p.cmd.Process.Pid, "VmRSS"), "MiB-resident")
	b.ReportMetric(status(b, p.cmd.Process.Pid, "VmHWM"), "MiB-peak")
	b.ReportMetric(float64(used)*10/seconds, "cpu-ms/s")
	b.ReportMetric(0, "ns/op")
}

// ticks are the hundredths of a second of CPU that a process has used (proc(5)).
func ticks(b *testing.B, pid int) (n int) {
	b.Helper()
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(p[strings.LastIndexByte(string(p), ')')+2:]))
	for _, s := range f[11:13] {
		v, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		n += v
	}
	return n
}

func status(b *testing.B, pid int, key string) float64 {
	b.Helper()
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(p)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	b.Fatalf("no %s", key)
	return 0
}
