package aggregator_test

import (
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgeagg/aggregator"
)

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		a := start(t, aggregator.Config{FctWriter: v.Write, BufWriter: 2})
		write(t, a, "a")
		synctest.Wait()
		write(t, a, "bb ccc")
		waiting := writing(a, "dddd")
		synctest.Wait()
		_, _ = a.TryWrite([]byte("x"))
		time.Sleep(time.Second)
		m := a.Metrics()
		m.Memory = 0
		if want := (aggregator.Metrics{
			Running: true, Uptime: time.Second, Capacity: 2,
			Waiting: 1, WaitingBytes: 4, Processing: 2, ProcessingBytes: 5,
			Accepted: 3, AcceptedBytes: 6, HandedOver: 1, Blocked: 1, Full: 1,
		}); m != want {
			t.Errorf("have %+v\nwant %+v", m, want)
		}
		v.open()
		must(t, <-waiting)
		must(t, a.Stop())
		must(t, a.Start(bg))
		write(t, a, "e")
		must(t, a.Stop())
		m = a.Metrics()
		if want := (aggregator.Metrics{Capacity: 2, Accepted: 5, AcceptedBytes: 11, HandedOver: 5, Blocked: 1, Full: 1}); m != want {
			t.Errorf("have %+v\nwant %+v", m, want)
		}
	})
}

// Each line is what Prometheus reads: a TYPE, then a sample.
func TestAppendPrometheus(t *testing.T) {
	m := aggregator.Metrics{Running: true, Uptime: 1500 * time.Millisecond, Accepted: 1<<53 - 1, Processing: 3}
	text := string(m.AppendPrometheus([]byte("before\n"), "edgeagg_aggregator", `stream="a"`))
	text, ok := strings.CutPrefix(text, "before\n")
	if !ok {
		t.Error("what was in the slice is gone")
	}
	kind := regexp.MustCompile(`^# TYPE (edgeagg_aggregator_[a-z_]+) (counter|gauge)$`)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	seen := map[string]bool{}
	for i := 0; i < len(lines); i += 2 {
		name := kind.FindStringSubmatch(lines[i])
		if name == nil || !strings.HasPrefix(lines[i+1], name[1]+`{stream="a"} `) || seen[name[1]] {
			t.Errorf("cannot read %q, %q", lines[i], lines[i+1])
			continue
		}
		seen[name[1]] = true
		if isTotal := strings.HasSuffix(name[1], "_total"); isTotal != (name[2] == "counter") {
			t.Errorf("%s is a %s", name[1], name[2])
		}
	}
	for _, want := range []string{
		`edgeagg_aggregator_running{stream="a"} 1`,
		`edgeagg_aggregator_uptime_seconds{stream="a"} 1.5`,
		`edgeagg_aggregator_processing_records{stream="a"} 3`,
		`edgeagg_aggregator_processing_bytes{stream="a"} 0`,
		`edgeagg_aggregator_waiting_records{stream="a"} 0`,
		`edgeagg_aggregator_accepted_records_total{stream="a"} 9007199254740991`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text := string(aggregator.Metrics{}.AppendPrometheus(nil, "", "")); !strings.HasPrefix(text, "# TYPE running gauge\nrunning 0\n") {
		t.Errorf("without prefix and labels: %.60q", text)
	}
}

// Counters never show more than there can be, however fast all moves.
func TestCountersWhileAllMoves(t *testing.T) {
	a := start(t, aggregator.Config{FctWriter: func(p []byte) (int, error) { return len(p), nil }, BufWriter: 10})
	done := make(results, 4)
	for range 4 {
		done.go_(func() error {
			for range 5000 {
				if _, err := a.Write([]byte("xyz")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for range 5000 {
		n, size, w := a.NbProcessing(), a.SizeProcessing(), a.NbWaiting()
		if n < 0 || n > 10 || size < 0 || size > 30 || w < 0 || w > 4 {
			t.Fatalf("processing %d records, %d bytes; %d waiting", n, size, w)
		}
	}
	for range 4 {
		must(t, <-done)
	}
	must(t, a.Stop())
	counters(t, a, 0, 0, 0, 0)
}
